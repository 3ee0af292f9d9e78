//! A saved state as bytes: what makes a torn, foreign or newer one known.
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | `OVSR` |
//! | 4..8 | the version of this layout: 1 |
//! | 8..16 | the generation: which save in the life of the store |
//! | 16..24 | the length of the state |
//! | 24..28 | CRC-32C of the key, all of the above and the state |
//! | 28.. | the state |
//!
//! Numbers are little-endian. The key is in the sum, so a record under another key is none. The sum is against accidents; whoever may write the file can forge it.
#![forbid(unsafe_code)]

use super::store::StoreErrorKind;

const MAGIC: [u8; 4] = *b"OVSR";
const VERSION: u32 = 1;
const SUMMED: usize = 24;
const HEADER: usize = 28;

/// The CRC-32C of all parts, one after the other.
pub(super) fn sum(parts: [&[u8]; 3]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            let (mut rest, mut bit) = (byte as u32, 0);
            while bit < 8 {
                rest = if rest & 1 == 1 { (rest >> 1) ^ 0x82f6_3b78 } else { rest >> 1 };
                bit += 1;
            }
            table[byte] = rest;
            byte += 1;
        }
        table
    };
    let bytes = parts.into_iter().flatten();
    !bytes.fold(!0, |sum, byte| TABLE[((sum ^ u32::from(*byte)) & 0xff) as usize] ^ (sum >> 8))
}

pub(super) fn encode(key: &str, generation: u64, state: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEADER + state.len());
    record.extend(MAGIC);
    record.extend(VERSION.to_le_bytes());
    record.extend(generation.to_le_bytes());
    record.extend((state.len() as u64).to_le_bytes());
    let sum = sum([key.as_bytes(), &record, state]);
    record.extend(sum.to_le_bytes());
    record.extend(state);
    record
}

/// The generation and the state, or what is wrong with the record.
pub(super) fn decode<'a>(key: &str, record: &'a [u8]) -> Result<(u64, &'a [u8]), StoreErrorKind> {
    let magic = record.get(..MAGIC.len()).ok_or(StoreErrorKind::Truncated)?;
    if *magic != MAGIC {
        return Err(StoreErrorKind::Foreign);
    }
    let (header, state) = record.split_at_checked(HEADER).ok_or(StoreErrorKind::Truncated)?;
    let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let long = |at: usize| u64::from(number(at)) | u64::from(number(at + 4)) << 32;
    match number(4) {
        VERSION => {}
        0 => return Err(StoreErrorKind::Corrupt),
        _ => return Err(StoreErrorKind::Newer),
    }
    match long(16) {
        length if length > state.len() as u64 => return Err(StoreErrorKind::Truncated),
        length if length < state.len() as u64 => return Err(StoreErrorKind::Corrupt),
        _ => {}
    }
    if number(SUMMED) != sum([key.as_bytes(), &header[..SUMMED], state]) {
        return Err(StoreErrorKind::Corrupt);
    }
    Ok((long(8), state))
}
