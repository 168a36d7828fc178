#!/usr/bin/env bash
# Say which Debian mirror this machine uses: where apt found bookworm.
set -euo pipefail
mirror() { apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' | head -n 1; }
[ -n "$(mirror)" ] || apt-get -qq update
[ -n "$(mirror)" ] || { echo "mirror.sh: apt knows no mirror of Debian 12 (bookworm)" >&2 && exit 1; }
mirror
