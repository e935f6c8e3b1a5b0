# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034
# What the structure tests share: the compilers' names, and the names that may be seen.

# shellcheck source=tests/common.sh
. "$QUARRY_SOURCE_DIR/tests/common.sh"
read -r -a cxx <<<"${CXX:-}"
read -r -a nm <<<"$NM"

# The quarry_* functions: what the installed headers mark.
api_names() {
	sed -n 's/^QUARRY_API .*\b\(quarry_[a-z_0-9]*\)(.*/\1/p' "$source_dir"/include/quarry/*.h
}

# The malloc surface, with the C++ operators new and delete.
surface_names() {
	printf '%s\n' malloc free calloc realloc reallocarray aligned_alloc posix_memalign memalign valloc pvalloc \
		malloc_usable_size malloc_trim mallinfo mallinfo2 mallopt malloc_info malloc_stats \
		free_sized free_aligned_sized
	local array
	for array in w a; do
		printf '%s\n' "_Zn${array}m" "_Zn${array}mRKSt9nothrow_t" "_Zn${array}mSt11align_val_t" \
			"_Zn${array}mSt11align_val_tRKSt9nothrow_t"
	done
	for array in l a; do
		printf '%s\n' "_Zd${array}Pv" "_Zd${array}Pvm" "_Zd${array}PvRKSt9nothrow_t" "_Zd${array}PvSt11align_val_t" \
			"_Zd${array}PvmSt11align_val_t" "_Zd${array}PvSt11align_val_tRKSt9nothrow_t"
	done
}
