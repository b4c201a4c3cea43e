"""Other projects' conventions by name: what `preset="byzfl"` makes of a rule or an attack.

Names that a preset does not list mean the same there as here, or do not exist there.
"""

from __future__ import annotations

PRESETS: dict[str, dict[str, str]] = {
    "byzfl": {
        "krum": 'krum(neighbours="n-f-1")',
        "multi_krum": 'multi_krum(neighbours="n-f-1")',
        "geometric_median": "geometric_median(nu=0.1, iterations=3, start=origin)",
        "centered_clipping": "centered_clipping(tau=100)",
        "alie": "alie(z=-1.5)",
        "ipm": "ipm(epsilon=2)",
        "sign_flip": "ipm(epsilon=1)",
        "mimic": "mimic(worker=0)",
    },
    "byzpy": {
        "krum": 'krum(neighbours="n-f-1")',
        "multi_krum": 'multi_krum(neighbours="n-f-1")',
        "median": "median(even=lower)",
        "geometric_median": "geometric_median(nu=1e-12, iterations=256, start=median)",
        "centered_clipping": "centered_clipping(iterations=10, start=mean)",
        "alie": 'alie(sign="+", ddof=0, formula="n")',
        "ipm": "ipm(epsilon=1)",
        "mimic": "mimic(worker=0)",
    },
    "byzantinemomentum": {
        "krum": 'krum(neighbours="n-f-1", power=1)',
        "multi_krum": 'multi_krum(neighbours="n-f-1", power=1, m="n-f-2")',
        "median": "median(even=lower)",
    },
    "epfml": {
        "krum": "krum(power=4)",
        "trimmed_mean": "trimmed_mean(reduce=True)",
        "geometric_median": "geometric_median(nu=0.1, iterations=8, start=origin)",
        "centered_clipping": "centered_clipping(tau=10, iterations=3)",
    },
    "blades": {
        "alie": 'alie(sign="+")',
        "ipm": "ipm(epsilon=1)",
        "min_max": "min_max(direction=std)",
    },
    "mixtailor": {
        "krum": "krum(power=1)",
        "median": "median(even=lower)",
        "bucketing": "resampling(tolerate=f)",
        "alie": "alie(z=1.5)",
        "ipm": 'ipm(scale="sum/f")',
        "sign_flip": 'ipm(epsilon=1, scale="sum/f")',
        "mimic": "mimic(worker=0)",
    },
    "zeno": {},
    "flpoison": {
        "krum": 'krum(neighbours="n-f-1", power=1)',
        "multi_krum": 'multi_krum(neighbours="n-f-1", power=1, m=0.2)',
        "geometric_median": "geometric_median(nu=1e-6, iterations=3, start=origin)",
        "centered_clipping": "centered_clipping(tau=100)",
        "alie": 'alie(sign="+", ddof=0)',
        "min_max": "min_max(direction=unit)",
        "min_sum": "min_sum(direction=unit)",
        "mimic": "mimic(worker=0)",
    },
    "fl_byzantine": {
        "bucketing": "bucketing(last=spread)",
        "min_max": "min_max(direction=unit)",
        "min_sum": "min_sum(direction=unit, bound=min)",
    },
}

NOT_OFFERED = {
    ("epfml", "multi_krum"): "it returns the sum of the rows, m times the average",
    ("mixtailor", "geometric_median"): "it starts at random and divides by distances of 0",
    ("mixtailor", "trimmed_mean"): "its class does not run",
    ("flpoison", "trimmed_mean"): "it trims a tenth of the rows, whatever f is",
    ("fl_byzantine", "geometric_median"): "the number of its steps is left open",
    ("zeno", "sign_flip"): "all its traitors send the negative of the first one's vector",
}
"""What cannot be had by a name, and why."""
