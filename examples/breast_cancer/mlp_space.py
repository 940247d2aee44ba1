"""Multilayer perceptrons of one to four layers."""

from nasrl import ChoiceSpace, Choose


class MlpSpace(ChoiceSpace):
    choices = {
        "number of layers": [1, 2, 3, 4],
        "units": [4, 8, 16, 32, 64],
        "activation": ["relu", "tanh", "gelu"],
        "dropout": [0.0, 0.2, 0.5],
    }
    longest = 1 + 4 * 3

    def write(self, choose: Choose) -> dict:
        layers = []
        for _ in range(choose("number of layers")):
            layers.append({"units": choose("units"), "activation": choose("activation")})
            # No dropout in a layer that is narrow already: decisions may depend on earlier ones.
            layers[-1]["dropout"] = choose("dropout") if layers[-1]["units"] > 4 else 0.0
        return {"layers": layers}
