"""From a scan to an object, a score and a picture, in a minute: `python docs/tour.py`, then look at tour.png."""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from ptychodose.compare import figures
from ptychodose.formats.png import save_figure
from ptychodose.iterative import poisson_map
from ptychodose.physics import lattice, noise, simulate
from ptychodose.scans import base
from ptychodose.scans.scan import of_arrays
from ptychodose.score import scoring
from ptychodose.score.region import scored_region
from ptychodose.study import params

study = params.load()  # params.yaml of the current folder
known = base.load(study.generate, noise.stream(1, "object"))  # an object and a probe
positions = lattice.finest_scan((32, 140), (32, 140), 7.2, noise.stream(1, "jitter/test")).positions  # (n, 2) px
probe = simulate.scale_to_dose(known.obj, known.probe, positions, study.dose)  # photons per pattern
scan = of_arrays(None, probe, positions, known.obj.shape)  # a plan; counts follow
scan = replace(scan, counts=noise.draw_counts(scan.expected(known.obj), noise.stream(1, "noise/test")))
found = poisson_map.solve(scan, study.reconstruct_map, noise.stream(1, "solver"))  # never sees known.obj
region = scored_region([positions])
score = scoring.headline(scoring.score(found.obj, known.obj, region, scan.pixel_m))
print(f"{len(scan)} patterns, {scan.signal:.0f} photons each: NRMSE {score['nrmse']:.3f}, prior {found.weight:.2g}")
shown = known.obj, {"map": (found.obj, None)}, region, scan.pixel_m, {"map": score}, ("truth", "tour")
save_figure(lambda: figures.comparison(*shown), Path("tour.png"))
