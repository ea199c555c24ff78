#!/bin/bash
# The demo: builds the guest if need be, then hands over to demo.py, which cleans up after itself.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bin=build/dev/bin guest=build/guest
guest/build-guest.sh "$guest"
exec python3 demo/demo.py --bin "$bin" --guest "$guest" "$@"
