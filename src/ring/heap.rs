//! What the heap keeps of memory that was freed, given back to the system. It stands here because
//! no other part may call what the compiler does not check.
#![allow(unsafe_code)]

/// Gives back every whole page that is free in the heap of any thread. A thread that allocates
/// meanwhile may wait for some milliseconds.
pub fn give_back_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) may be called at any time and from any thread (MT-Safe), and touches
    // nothing that is allocated.
    unsafe {
        libc::malloc_trim(0);
    }
}
