//! Records: whatever happened to the bytes, they are the state that was saved, or an error.

use crate::jobs::StoreErrorKind;
use crate::jobs::record::{decode, encode};

/// A record is what went in, under its key and under no other.
#[test]
fn record_comes_back_under_its_key() {
    for state in [&b""[..], b"row 7", &[0; 4_000]] {
        let record = encode("index", 9, state);
        assert_eq!(decode("index", &record), Ok((9, state)));
        assert_eq!(decode("other", &record), Err(StoreErrorKind::Corrupt));
    }
}

/// Cut off anywhere, with one bit turned over anywhere, or with a byte too much, it is an error of a kind.
#[test]
fn damaged_record_is_an_error() {
    let record = encode("index", 9, b"row 7");
    for end in 0..record.len() {
        assert_eq!(decode("index", &record[..end]), Err(StoreErrorKind::Truncated), "{end} bytes");
    }
    for bit in 0..record.len() * 8 {
        let mut damaged = record.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let kind = decode("index", &damaged).expect_err("a bit is wrong");
        let fits = match bit / 8 {
            0..4 => kind == StoreErrorKind::Foreign,
            4..8 => matches!(kind, StoreErrorKind::Newer | StoreErrorKind::Corrupt),
            16..24 => matches!(kind, StoreErrorKind::Truncated | StoreErrorKind::Corrupt),
            _ => kind == StoreErrorKind::Corrupt,
        };
        assert!(fits, "bit {bit}: {kind:?}");
    }
    let longer = [&record[..], b"x"].concat();
    assert_eq!(decode("index", &longer), Err(StoreErrorKind::Corrupt));
    assert_eq!(decode("index", b"{\"row\": 7, \"of\": \"another program\"}"), Err(StoreErrorKind::Foreign));
}

/// The sum is the one that everybody knows: of "123456789" it is `e3069283`.
#[test]
fn sum_is_castagnoli() {
    assert_eq!(crate::jobs::record::sum([b"123", b"", b"456789"]), 0xe306_9283);
}
