#!/bin/sh
# The page tests open the report in a real browser. Where Chromium is missing, install Debian's package;
# where that cannot be done, say so loudly and go on: those tests skip themselves, the others run.

for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null && exit 0
done

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing Chromium (Debian's package, for the page tests) ..."
    export DEBIAN_FRONTEND=noninteractive
    if said=$(apt-get update 2>&1 && apt-get install -y --no-install-recommends chromium 2>&1); then
        exit 0
    fi
    printf '%s\n' "$said" | tail -n 3 >&2
fi

echo "*** No Chromium here: the page tests will be SKIPPED. On Debian: apt-get install chromium ***" >&2
