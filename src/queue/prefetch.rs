//! Asking for memory that is about to be used: what travels between threads usually lies in the cache of the core that sent it.

/// Asks for the line at this address, to write to it soon. Has no effect that a program can see, whatever the address.
#[inline(always)]
pub(crate) fn prefetch(address: *mut ()) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch never faults and changes nothing.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_ET0 }>(address.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}
