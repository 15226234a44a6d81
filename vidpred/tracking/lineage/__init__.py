"""The way back from a model to its data: recorded when a version is made, read, checked and gone again.

    git       what git knows of the project: commit, changes, remote without credentials
    machine   what the work ran on: processor, GPUs, threads, versions
    dvc       what DVC knows: which stages agree with what lies here, hashes as in dvc.lock, the cache
    record    all of it as a folder of files with a hash each
    reading   such a folder read, wherever it comes from
    keep      the record on the training run, its tags on run and version
    subject   a model anywhere, with what can be known of it from here
    way       its hops (`hops`): weights, run, code, parameters; `way_data`: split, data, sources
    checks    hashes at every hop
    again     the same work in a worktree of its own
    compare   two models side by side

Everything read from a registry is untrusted: sizes are bounded, hashes checked, nothing executed but by `again`, which
says so first.
"""
