"""How task losses or gradients become one update."""

from mtl.balancing.aligned_mtl import AlignedMTL
from mtl.balancing.balancer import Balancer
from mtl.balancing.cagrad import CAGrad
from mtl.balancing.clipped import Clipped
from mtl.balancing.con_fig import ConFIG
from mtl.balancing.cr_mogm import CRMOGM
from mtl.balancing.db_mtl import DBMTL
from mtl.balancing.diagnosis import Diagnosis, diagnose
from mtl.balancing.dtp import DTP
from mtl.balancing.dual_proj import DualProj
from mtl.balancing.dwa import DWA
from mtl.balancing.excess_mtl import ExcessMTL
from mtl.balancing.fair_grad import FairGrad
from mtl.balancing.famo import FAMO
from mtl.balancing.get import get
from mtl.balancing.gls import GLS
from mtl.balancing.grad_drop import GradDrop
from mtl.balancing.grad_norm import GradNorm
from mtl.balancing.grad_vac import GradVac
from mtl.balancing.imtl import IMTL
from mtl.balancing.imtl_g import IMTLG
from mtl.balancing.imtl_l import IMTLL
from mtl.balancing.mgda import MGDA
from mtl.balancing.moco import MoCo
from mtl.balancing.nash_mtl import NashMTL
from mtl.balancing.pcgrad import PCGrad
from mtl.balancing.rlw import RLW
from mtl.balancing.scheduled import Scheduled
from mtl.balancing.sdmgrad import SDMGrad
from mtl.balancing.static import Static
from mtl.balancing.stch import STCH
from mtl.balancing.uncertainty_weighting import UncertaintyWeighting
from mtl.balancing.upgrad import UPGrad

__all__ = [
    "AlignedMTL",
    "Balancer",
    "CAGrad",
    "CRMOGM",
    "Clipped",
    "ConFIG",
    "DBMTL",
    "DTP",
    "DWA",
    "Diagnosis",
    "DualProj",
    "ExcessMTL",
    "FAMO",
    "FairGrad",
    "GLS",
    "GradDrop",
    "GradNorm",
    "GradVac",
    "IMTL",
    "IMTLG",
    "IMTLL",
    "MGDA",
    "MoCo",
    "NashMTL",
    "PCGrad",
    "RLW",
    "SDMGrad",
    "STCH",
    "Scheduled",
    "Static",
    "UPGrad",
    "UncertaintyWeighting",
    "diagnose",
    "get",
]
