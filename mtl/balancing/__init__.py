"""Methods that combine task losses or gradients into one update."""

from mtl.balancing.balancer import Balancer
from mtl.balancing.diagnosis import Diagnosis, diagnose
from mtl.balancing.get import get
from mtl.balancing.methods.aligned_mtl import AlignedMTL
from mtl.balancing.methods.cagrad import CAGrad
from mtl.balancing.methods.clipped import Clipped
from mtl.balancing.methods.conflict_free import ConFIG
from mtl.balancing.methods.cr_mogm import CRMOGM
from mtl.balancing.methods.db_mtl import DBMTL
from mtl.balancing.methods.dtp import DTP
from mtl.balancing.methods.dual_proj import DualProj
from mtl.balancing.methods.dwa import DWA
from mtl.balancing.methods.excess_mtl import ExcessMTL
from mtl.balancing.methods.fair_grad import FairGrad
from mtl.balancing.methods.famo import FAMO
from mtl.balancing.methods.gls import GLS
from mtl.balancing.methods.grad_drop import GradDrop
from mtl.balancing.methods.grad_norm import GradNorm
from mtl.balancing.methods.grad_vac import GradVac
from mtl.balancing.methods.imtl import IMTL
from mtl.balancing.methods.imtl_g import IMTLG
from mtl.balancing.methods.imtl_l import IMTLL
from mtl.balancing.methods.mgda import MGDA
from mtl.balancing.methods.moco import MoCo
from mtl.balancing.methods.nash_mtl import NashMTL
from mtl.balancing.methods.pcgrad import PCGrad
from mtl.balancing.methods.rlw import RLW
from mtl.balancing.methods.scheduled import Scheduled
from mtl.balancing.methods.sdmgrad import SDMGrad
from mtl.balancing.methods.static import Static
from mtl.balancing.methods.stch import STCH
from mtl.balancing.methods.uncertainty_weighting import UncertaintyWeighting
from mtl.balancing.methods.upgrad import UPGrad

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
