"""The space of NAS-Bench-Macro: eight layers, each one of three blocks (Su et al. 2021)."""

from nasrl import ChoiceSpace, Choose


class MacroSpace(ChoiceSpace):
    choices = {"block": ["identity", "MB3 K3", "MB6 K5"]}
    longest = 8

    def write(self, choose: Choose) -> list[str]:
        return [choose("block") for _ in range(8)]
