"""params.yaml as frozen, checked objects: one file per group, so that a stage depends on its own group only."""
