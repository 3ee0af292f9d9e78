//! Seeded defects: with `--cfg overstrand_zoo`, the environment variable `OVERSTRAND_ZOO` names one defect to switch on, so that
//! the models and tests are known to be able to fail. Without the cfg every question is the constant `false`.
#![forbid(unsafe_code)]

/// True when the defect of this name is switched on.
#[cfg(overstrand_zoo)]
pub(crate) fn has(defect: &str) -> bool {
    use crate::sync::unmodelled::OnceCell;
    static CHOSEN: OnceCell<Option<String>> = OnceCell::new();
    CHOSEN.get_or_init(|| std::env::var("OVERSTRAND_ZOO").ok()).as_deref() == Some(defect)
}

/// True when the defect of this name is switched on: never, in this build.
#[cfg(not(overstrand_zoo))]
#[inline(always)]
pub(crate) const fn has(_defect: &str) -> bool {
    false
}
