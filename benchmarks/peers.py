"""The sides that run on PyTorch, in a process of their own: two frameworks in one process disturb each other.

`throughput.py` starts it as `python -m benchmarks.peers`, writes what to train as a line of JSON, and then a line for each turn.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Peer"]


class Peer:
    """A side in another process.

    Args:
        **settings: of `transformer` or `recurrent`, with `side`, which of the two.
    """

    def __init__(self, **settings: Any):
        command = [sys.executable, "-m", "benchmarks.peers"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._ask(settings)

    def __call__(self) -> int:
        """Trains; the number of real tokens."""
        return int(self._ask("turn"))

    def _ask(self, line: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("PyTorch's side ended early: see what it wrote above.")
        return json.loads(answer)

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def transformer(
    texts: dict[str, list[list[int]]], steps: int, size: dict[str, int], vocabulary: int, batch: int, labels: int, bfloat16: bool
) -> Callable[[], int]:
    """Tasks that take turns: batches of one task, padded to their longest row; `transformers`' BERT and the fused AdamW."""
    import torch
    from transformers import BertConfig, BertModel

    width = size["width"]
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=size["layers"],
        num_attention_heads=size["heads"],
        intermediate_size=size["feedforward"],
    )
    encoder = BertModel(config, add_pooling_layer=False)
    outputs = {"topic": 5, "slots": labels, "similar": 1}
    heads = torch.nn.ModuleDict({task: torch.nn.Linear(width, count) for task, count in outputs.items()})
    optimizer = torch.optim.AdamW([*encoder.parameters(), *heads.parameters()], 1e-4, fused=True)
    rows = {task: [torch.tensor(ids) for ids in of] for task, of in texts.items()}
    random = torch.Generator().manual_seed(0)
    entropy, drop = torch.nn.functional.cross_entropy, torch.nn.functional.dropout

    def batches() -> Iterator[tuple[str, list[Any]]]:
        while True:
            orders = {task: torch.randperm(len(of), generator=random).tolist() for task, of in rows.items()}
            every = [(task, order[i : i + batch]) for task, order in orders.items() for i in range(0, len(order), batch)]
            for turn in torch.randperm(len(every), generator=random).tolist():
                task, chosen = every[turn]
                yield task, [rows[task][i] for i in chosen]

    endless = batches()

    def run() -> int:
        tokens = 0
        for _ in range(steps):
            task, chosen = next(endless)
            ids = torch.nn.utils.rnn.pad_sequence(chosen, batch_first=True)
            mask = (ids != 0).long()
            tokens += int(mask.sum())
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                sequence = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
                features = sequence if task == "slots" else (sequence * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
                found = heads[task](drop(features, 0.1)).float()
            if task == "slots":
                loss = entropy(found.flatten(0, 1), torch.where(mask > 0, ids % labels, -100).flatten())
            elif task == "topic":
                loss = entropy(found, ids[:, 1] % 5)
            else:
                loss = (found[:, 0] - (ids[:, 1] % 5)).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return tokens

    return run


def recurrent(
    rows: int, length: int, steps: int, embedding: int, units: int, vocabulary: int, labels: int, bfloat16: bool
) -> Callable[[], int]:
    """Tagging with a BiLSTM and Adam, on rows without padding."""
    import torch

    embed = torch.nn.Embedding(vocabulary, embedding)
    lstm = torch.nn.LSTM(embedding, units, batch_first=True, bidirectional=True)
    head = torch.nn.Linear(2 * units, labels)
    optimizer = torch.optim.Adam([*embed.parameters(), *lstm.parameters(), *head.parameters()])
    ids = torch.randint(1, vocabulary, (rows, length), generator=torch.Generator().manual_seed(0))
    drop = torch.nn.functional.dropout

    def run() -> int:
        for _ in range(steps):
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                outputs = head(drop(lstm(drop(embed(ids), 0.1))[0], 0.1)).float()
            torch.nn.functional.cross_entropy(outputs.flatten(0, 1), (ids % labels).flatten()).backward()
            optimizer.step()
            optimizer.zero_grad()
        return steps * ids.numel()

    return run


def main() -> None:
    settings = json.loads(sys.stdin.readline())
    run = {"transformer": transformer, "recurrent": recurrent}[settings.pop("side")](**settings)
    print(json.dumps("ready"), flush=True)
    for _ in sys.stdin:
        print(json.dumps(run()), flush=True)


if __name__ == "__main__":
    main()
