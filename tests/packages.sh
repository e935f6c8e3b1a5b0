#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Debian packages are built from a copy of the source, and are sound by lintian; what is in them works from where it was
# unpacked. With QUARRY_TEST_INSTALL=1 they are installed as well, by root, tried and removed again.
#
#     packages.sh SOURCE    what make distdir makes, as make check-packages says, or an unpacked tarball
set -euo pipefail
source_dir=$(realpath "$1")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fail() {
	echo "FAIL: $*"
	exit 1
}

for need in dpkg-buildpackage:dpkg-dev dh:debhelper lintian:lintian; do
	command -v "${need%:*}" >/dev/null || {
		echo "SKIP: ${need%:*} is missing; Debian package: ${need#*:}"
		exit 77
	}
done

cp -r "$source_dir" "$scratch/quarry"
chmod -R u+w "$scratch/quarry"
cd "$scratch/quarry"
version=$(sed -n 's/^#define QUARRY_VERSION_[A-Z]* *//p' include/quarry/quarry.h | paste -s -d.)
[ "$(dpkg-parsechangelog -S Version)" = "$version" ] || fail "debian/changelog is not about version $version"
DEB_BUILD_OPTIONS="nocheck parallel=$(nproc)" dpkg-buildpackage -us -uc -b >"$scratch/log" 2>&1 || {
	tail -n 60 "$scratch/log"
	fail "no packages"
}
cd "$scratch"
# Whoever builds packages for others puts a name and an address into debian/.
not_ours=initial-upload-closes-no-bugs,bogus-mail-host,bogus-mail-host-in-debian-changelog
lintian --fail-on error,warning --allow-root --suppress-tags "$not_ours" ./*.changes ||
	fail "lintian has found something"

# What is unpacked works where it is.
mkdir root
for package in libquarry0 libquarry-dev quarry-tools; do
	dpkg-deb -x "$package"_*.deb root || fail "no $package"
done
libdir=root/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)
for library in libquarry_malloc libquarry_malloc_hardened; do
	root/usr/bin/quarry run --library="$libdir/$library.so.0" --summary true 2>&1 | grep -q '^Quarry' ||
		fail "quarry run does not run with $library"
done
LD_LIBRARY_PATH=$libdir root/usr/bin/quarry-python -c 'import sys; sys._debugmallocstats()' 2>&1 | grep -q '^Quarry' ||
	fail "quarry-python does not run"
for path in "$libdir/quarry/libquarry_topology.so" "$libdir/cmake/quarry/quarry-config.cmake" \
	"$libdir"/pkgconfig/libquarry{,_malloc,_malloc_hardened}.pc "$libdir"/libquarry{,_malloc,_malloc_hardened}.{a,so} \
	root/usr/include/quarry/quarry.h root/usr/share/quarry/quarry-gdb.py \
	root/usr/share/man/man1/quarry.1.gz root/usr/share/bash-completion/completions/quarry; do
	[ -e "$path" ] || fail "no $path"
done

if [ "${QUARRY_TEST_INSTALL:-0}" = 1 ]; then
	apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 install ./*quarry*.deb >"$scratch/log" 2>&1 || {
		tail -n 30 "$scratch/log"
		fail "the packages do not install"
	}
	status=0
	quarry run --summary true 2>&1 | grep -q '^Quarry' || status=1
	quarry run --hardened --summary true 2>&1 | grep -q '^Quarry' || status=1
	printf '#include <quarry/quarry.h>\nint main(void) { return !quarry_owns(quarry_malloc(1)); }\n' >use.c
	for library in libquarry libquarry_malloc libquarry_malloc_hardened; do
		# shellcheck disable=SC2046
		{ cc -o use use.c $(pkg-config --cflags --libs "$library") && ./use; } || status=1
	done
	apt-get -q -y purge libquarry0 libquarry-dev quarry-tools >"$scratch/log" 2>&1 || fail "the packages cannot be removed"
	[ "$status" -eq 0 ] || fail "what is installed does not work"
fi
echo "ok"
