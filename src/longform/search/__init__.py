"""Which settings? A search over knobs and rates, within a budget, judged on unseen documents."""
