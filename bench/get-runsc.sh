#!/bin/sh
# Fetches gVisor's runsc, the runtime that the benchmarks compare with, from Debian's
# trixie suite, without touching the system: own sources list, own apt state and cache,
# the package is unpacked, never installed. Debian 12's own runsc is older and has no
# systrap platform, hence trixie's (20240729).
#
# Usage: bench/get-runsc.sh [FOLDER]     (default: ./bench/.runsc)
# Prints the path of the executable: RUNSC="$(bench/get-runsc.sh)" npm run bench
# Environment: DEBIAN_MIRROR (default: http://deb.debian.org/debian)
set -eu

for tool in apt-get dpkg-deb; do
  command -v "$tool" >/dev/null 2>&1 || { echo "get-runsc: $tool is missing: this script needs a Debian-like system" >&2; exit 1; }
done
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keyring" ] || { echo "get-runsc: $keyring is missing (package debian-archive-keyring)" >&2; exit 1; }

here=$(cd "$(dirname "$0")" && pwd)
target=${1:-$here/.runsc}
mkdir -p "$target"
target=$(cd "$target" && pwd)
if [ -x "$target/runsc" ]; then
  echo "$target/runsc"
  exit 0
fi

mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
chmod 755 "$scratch"
mkdir -p "$scratch/lists/partial" "$scratch/cache/archives/partial" "$scratch/state" "$scratch/etc" "$scratch/out"
: >"$scratch/state/status"
echo "deb [arch=amd64 signed-by=$keyring] $mirror trixie main" >"$scratch/etc/sources.list"

# Read after the system's own configuration (so a proxy set there still serves), and
# clearing what that configuration would run on the system after an update.
cat >"$scratch/apt.conf" <<CONF
Dir::Etc::sourcelist "$scratch/etc/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::State "$scratch/state";
Dir::State::lists "$scratch/lists";
Dir::State::status "$scratch/state/status";
Dir::Cache "$scratch/cache";
Dir::Log "$scratch";
APT::Architecture "amd64";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Architectures;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::CNF;
#clear DPkg::Pre-Install-Pkgs;
CONF

apt-get -c "$scratch/apt.conf" -qq update >&2
(cd "$scratch/out" && apt-get -c "$scratch/apt.conf" -qq download runsc >&2)
dpkg-deb -x "$scratch"/out/runsc_*.deb "$scratch/tree"
install -m 755 "$scratch/tree/usr/bin/runsc" "$target/runsc"
echo "$target/runsc"
