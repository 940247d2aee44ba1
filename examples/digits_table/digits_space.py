"""The networks of digits_table.csv: three layers, each with a stride and a number of filters."""

from nasrl import ChoiceSpace, Choose

LAYERS = (1, 2, 3)


class DigitsSpace(ChoiceSpace):
    choices = {"stride height": [1, 2, 3], "filters": [4, 8, 16]}
    longest = 2 * len(LAYERS)

    def write(self, choose: Choose) -> list[tuple[int, int]]:
        return [(choose("stride height"), choose("filters")) for _ in LAYERS]
