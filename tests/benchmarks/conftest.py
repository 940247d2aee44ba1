import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# As when a script there is run; last, so that they hide nothing.
sys.path += [str(ROOT / "benchmarks"), str(ROOT / "examples" / "digits_table")]
