#!/usr/bin/env bash
# Stock clients that the tests drive, into this folder: programs of Debian's packages are unpacked, not installed, for
# their packages would start services. What the machine has already is used as it is.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p bin

# from_debian PACKAGE PROGRAM
from_debian() {
  if command -v "$2" >/dev/null || [ -x "bin/$2" ]; then return; fi
  local folder
  folder=$(mktemp -d)
  (cd "$folder" && { apt-get download -q "$1" || { apt-get update -q && apt-get download -q "$1"; }; } && dpkg -x ./*.deb .)
  install -m 755 "$folder/usr/bin/$2" "bin/$2"
  rm -rf "$folder"
}

from_debian docker.io docker
from_debian prometheus prometheus
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q && apt-get install -y -q --no-install-recommends nodejs npm
fi
npm ci --no-audit --no-fund --ignore-scripts --omit=optional --loglevel=error
