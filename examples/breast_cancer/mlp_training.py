"""Trains a perceptron to tell benign tumours from malignant ones, by 30 measurements of each.

The data are scikit-learn's copy of Wolberg, Mangasarian, Street & Street 1995: 569 rows.
"""

from functools import cache

import torch
from sklearn.datasets import load_breast_cancer
from torch import nn

from nasrl import Outcome

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


@cache
def data(device):
    """Give (train, validation), each (rows, labels): loaded once in each process."""
    table = load_breast_cancer()
    rows = torch.tensor(table.data, dtype=torch.float32, device=device)
    labels = torch.tensor(table.target, device=device)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    train, validation = order[:369].to(device), order[369:].to(device)
    mean, deviation = rows[train].mean(0), rows[train].std(0)
    rows = (rows - mean) / deviation
    return (rows[train], labels[train]), (rows[validation], labels[validation])


def build(architecture):
    modules, width = [], 30
    for layer in architecture["layers"]:
        modules += [nn.Linear(width, layer["units"]), ACTIVATIONS[layer["activation"]]()]
        if layer["dropout"]:
            modules.append(nn.Dropout(layer["dropout"]))
        width = layer["units"]
    return nn.Sequential(*modules, nn.Linear(width, 2))


def train(architecture, *, device, seed, report, num_epochs=20):
    # torch draws from the seed already.
    (rows, labels), (others, answers) = data(device)
    network = build(architecture).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    losses = []
    for _ in range(num_epochs):
        network.train()
        for batch in torch.randperm(len(rows), device=device).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(rows[batch]), labels[batch]).backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            logits = network(others)
        accuracy = (logits.argmax(1) == answers).float().mean().item()
        losses.append(nn.functional.cross_entropy(logits, answers).item())
        report(accuracy)
    return Outcome(
        # The loss tells networks apart that are right about the same rows.
        reward=1 / (1 + min(losses)),
        validation=accuracy,
        num_parameters=sum(weights.numel() for weights in network.parameters()),
        metrics={"loss": min(losses)},
    )
