"""The scripts of strangers are run by a test, and never imported to be searched for doctests."""

collect_ignore_glob = ["strangers/*"]
