"""Check a lean install: no torch, the page answers, local models say what to install."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request

assert importlib.util.find_spec("torch") is None, "this check is for an environment without torch"
home = tempfile.mkdtemp()
environment = {**os.environ, "LINEUP_HOME": home, "GRADIO_ANALYTICS_ENABLED": "False"}
command = [sys.executable, "-m", "compare", "run", "a red star", "-m", "miniature/diffusion"]
answer = subprocess.run([*command, "--json"], env=environment, capture_output=True, text=True)
job = json.loads(answer.stdout)["jobs"][0]
assert answer.returncode != 0 and job["outcome"] == "failed", job
assert 'pip install -e ".[local]"' in job["message"], job["message"]

app = subprocess.Popen([sys.executable, "app.py", "--port", "7869"], env=environment)
try:
    for _ in range(240):
        try:
            with urllib.request.urlopen("http://127.0.0.1:7869/") as page:
                assert page.status == 200
                break
        except OSError:
            assert app.poll() is None, "the app has stopped"
            time.sleep(0.25)
    else:
        raise AssertionError("the app did not answer within a minute")
finally:
    app.terminate()
    app.wait(20)
print("lean: the page answers; the miniature's card says:", job["message"])
