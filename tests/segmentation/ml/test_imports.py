import subprocess
import sys

LIGHT = ("schema", "config", "btyd", "artifacts", "predictor", "evaluation", "calibration", "served", "blend")


def test_scoring_doors_open_without_loading_the_learning_libraries():
    modules = ", ".join(f"segmentation.ml.{name}" for name in LIGHT)
    script = f"import sys, {modules}; print(sorted({{'torch', 'lightgbm', 'sklearn', 'django'}} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
