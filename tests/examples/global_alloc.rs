// SPDX-License-Identifier: MIT
//
// An example: Quarry as the allocator of a Rust program.
//
//     rustc -L native=/usr/local/lib global_alloc.rs
use std::alloc::{GlobalAlloc, Layout};
use std::collections::HashMap;
use std::ffi::c_void;
use std::thread;

#[link(name = "quarry")]
extern "C" {
    fn quarry_malloc(nbytes: usize) -> *mut c_void;
    fn quarry_calloc(count: usize, size: usize) -> *mut c_void;
    fn quarry_realloc(block: *mut c_void, nbytes: usize) -> *mut c_void;
    fn quarry_aligned_alloc(alignment: usize, nbytes: usize) -> *mut c_void;
    fn quarry_free_sized(block: *mut c_void, nbytes: usize);
    fn quarry_free_aligned_sized(block: *mut c_void, alignment: usize, nbytes: usize);
    fn quarry_owns(block: *const c_void) -> i32;
}

struct Quarry;

// What quarry_malloc aligns to.
const ALIGNMENT: usize = 16;

unsafe impl GlobalAlloc for Quarry {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= ALIGNMENT {
            quarry_malloc(layout.size()) as *mut u8
        } else {
            quarry_aligned_alloc(layout.align(), layout.size()) as *mut u8
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if layout.align() <= ALIGNMENT {
            quarry_free_sized(block as *mut c_void, layout.size())
        } else {
            quarry_free_aligned_sized(block as *mut c_void, layout.align(), layout.size())
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= ALIGNMENT {
            return quarry_calloc(1, layout.size()) as *mut u8;
        }
        let block = self.alloc(layout);
        if !block.is_null() {
            block.write_bytes(0, layout.size());
        }
        block
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, nbytes: usize) -> *mut u8 {
        if layout.align() <= ALIGNMENT {
            return quarry_realloc(block as *mut c_void, nbytes) as *mut u8;
        }
        let other = self.alloc(Layout::from_size_align_unchecked(nbytes, layout.align()));
        if !other.is_null() {
            other.copy_from_nonoverlapping(block, layout.size().min(nbytes));
            self.dealloc(block, layout);
        }
        other
    }
}

#[global_allocator]
static ALLOCATOR: Quarry = Quarry;

// --- the check ------------------------------------------------------------------------------------------------------

#[derive(Clone)]
#[repr(align(256))]
struct Wide([u8; 256]);

fn owned<T>(block: *const T) -> bool {
    unsafe { quarry_owns(block as *const c_void) == 1 }
}

fn work(which: usize) -> usize {
    let mut table: HashMap<String, Vec<usize>> = HashMap::new();
    for step in 0..50000 {
        let list = table.entry(format!("key{}", step * 7 % 3000)).or_default();
        list.push(step * which);
        if step % 5 == 0 {
            table.remove(&format!("key{}", step % 3000));
        }
    }
    assert!(table.values().all(|list| owned(list.as_ptr())));
    table.values().map(|list| list.len()).sum()
}

fn main() {
    let threads: Vec<_> = (0..4).map(|which| thread::spawn(move || work(which))).collect();
    let counts: Vec<usize> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(counts.windows(2).all(|pair| pair[0] == pair[1]));

    let mut wide = vec![Wide([7; 256]); 3];
    wide.extend(vec![Wide([9; 256]); 100]); // grows
    assert_eq!(wide.as_ptr() as usize % 256, 0);
    assert!(owned(wide.as_ptr()) && wide[2].0[255] == 7 && wide[3].0[0] == 9);

    let zeros = vec![0u8; 10_000_000];
    assert!(owned(zeros.as_ptr()) && zeros.iter().all(|&byte| byte == 0));
    println!("ok: {} entries in each thread", counts[0]);
}
