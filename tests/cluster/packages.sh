#!/usr/bin/env bash
# Install the Debian packages of the test cluster that this machine lacks.
set -euo pipefail
PACKAGES=(slurmctld slurmd slurm-client slurmdbd munge mariadb-server acl patchelf squashfuse squashfs-tools fakeroot uidmap
    debootstrap debian-archive-keyring ca-certificates)
missing=()
for package in "${PACKAGES[@]}"; do
    dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
# The packages would start a Slurm, a munge and a MariaDB of the machine's own, which nobody asked for.
policy=/usr/sbin/policy-rc.d
[ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && trap "rm $policy" EXIT; }
apt-get -qq install --no-install-recommends "${missing[@]}" >/dev/null
