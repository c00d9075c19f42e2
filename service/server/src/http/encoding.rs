//! Compressed bodies, both ways.

use std::io::{self, Read, Write};

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use bytes::Bytes;
use flate2::{
    Compression,
    bufread::{MultiGzDecoder, ZlibDecoder},
    write::{GzEncoder, ZlibEncoder},
};

use super::{error::HttpError, offload::offload};
use crate::UNSUSPICIOUS;

/// A compression. HTTP's `deflate` is the zlib format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Deflate,
}

/// Bodies below this size are not worth packing.
const WORTH: usize = 1024;

/// Bytes that are packed or unpacked where they are; more of them would keep other connections waiting.
const SMALL: usize = 16 << 10;

/// What unpacks to more than this many times its size is a bomb, beyond [`UNSUSPICIOUS`] bytes. Tensors of numbers seldom
/// shrink by more than ten.
const RATIO: usize = 64;

impl Coding {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Gzip, Self::Deflate].into_iter().find(|c| c.name().eq_ignore_ascii_case(name))
    }
}

/// How the body of a request is packed.
pub(super) fn of_request(headers: &HeaderMap) -> Result<Option<Coding>, HttpError> {
    let mut coding = None;
    for value in headers.get_all(header::CONTENT_ENCODING) {
        let name = value.to_str().unwrap_or("").trim();
        if name.is_empty() || name.eq_ignore_ascii_case("identity") {
            continue;
        }
        match Coding::parse(name) {
            Some(known) if coding.is_none() => coding = Some(known),
            _ => return Err(unsupported(value)),
        }
    }
    Ok(coding)
}

fn unsupported(found: &HeaderValue) -> HttpError {
    let message = format_args!(
        "Unsupported compression type: Content-Encoding {found:?}, expected gzip, deflate or identity, one of them"
    );
    HttpError {
        header: Some((header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate"))),
        ..HttpError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
    }
}

/// How the client wants an answer of `size` bytes packed: the best of its weights, gzip among equals.
pub(super) fn of_response(headers: &HeaderMap, size: usize) -> Option<Coding> {
    if size < WORTH {
        return None;
    }
    let values = headers.get_all(header::ACCEPT_ENCODING);
    accepted(values.iter().filter_map(|v| v.to_str().ok()))
}

fn accepted<'a>(values: impl Iterator<Item = &'a str>) -> Option<Coding> {
    let (mut gzip, mut deflate, mut identity, mut other) = (None, None, None, 0);
    for item in values.flat_map(|v| v.split(',')) {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().unwrap_or("");
        let weight = parts.find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")));
        // In thousandths, which is as fine as weights are; what is no weight excludes the coding.
        let weight =
            weight.map_or(1000, |q| q.parse::<f32>().map_or(0, |q| (q.clamp(0.0, 1.0) * 1000.0) as u32));
        match Coding::parse(name) {
            Some(Coding::Gzip) => gzip = Some(weight),
            Some(Coding::Deflate) => deflate = Some(weight),
            None if name.eq_ignore_ascii_case("identity") => identity = Some(weight),
            None if name == "*" => other = weight,
            None => {}
        }
    }
    let (gzip, deflate) = (gzip.unwrap_or(other), deflate.unwrap_or(other));
    let best = gzip.max(deflate);
    if best == 0 || identity.is_some_and(|identity| identity > best) {
        return None;
    }
    Some(if gzip == best { Coding::Gzip } else { Coding::Deflate })
}

/// The header that says how a body is packed.
pub(super) fn header(coding: Coding) -> (HeaderName, HeaderValue) {
    (header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()))
}

/// What `packed` holds, at most `limit` bytes, and less where so few bytes would become so many. Memory follows what comes
/// out.
pub(super) async fn unpack(coding: Coding, packed: Bytes, limit: usize) -> Result<Bytes, HttpError> {
    let limit = limit.min(plausible(packed.len()));
    offload(packed.len() > SMALL, move || unpack_now(coding, &packed, limit)).await
}

/// Bytes that so many packed ones may become.
fn plausible(packed: usize) -> usize {
    packed.saturating_mul(RATIO).max(UNSUSPICIOUS)
}

fn unpack_now(coding: Coding, packed: &[u8], limit: usize) -> Result<Bytes, HttpError> {
    // One more than the limit tells that there is more.
    let most = (limit as u64).saturating_add(1);
    let mut whole = Vec::new();
    let mut rest = packed;
    let done = match coding {
        Coding::Gzip => MultiGzDecoder::new(&mut rest).take(most).read_to_end(&mut whole),
        Coding::Deflate => ZlibDecoder::new(&mut rest).take(most).read_to_end(&mut whole),
    };
    if whole.len() > limit {
        let message = format_args!(
            "the body of {} bytes unpacks to more than the {limit} that this server takes for it; send it unpacked if \
             it is meant",
            packed.len()
        );
        return Err(HttpError::new(StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    let wrong = |why: &dyn std::fmt::Display| {
        HttpError::bad(format_args!(
            "the body is not what its Content-Encoding {} says: {why}",
            coding.name()
        ))
    };
    done.map_err(|e| wrong(&e))?;
    if !rest.is_empty() {
        return Err(wrong(&format_args!("{} bytes after its end", rest.len())));
    }
    Ok(whole.into())
}

/// The parts, one after the other, packed.
pub(super) async fn pack(coding: Coding, parts: Vec<Bytes>) -> io::Result<Bytes> {
    let size: usize = parts.iter().map(Bytes::len).sum();
    offload(size > SMALL, move || {
        // Fast rather than small: packing must not take longer than the model.
        let level = Compression::fast();
        let to = Vec::with_capacity(size / 2);
        let packed = match coding {
            Coding::Gzip => write(GzEncoder::new(to, level), &parts)?.finish()?,
            Coding::Deflate => write(ZlibEncoder::new(to, level), &parts)?.finish()?,
        };
        Ok(packed.into())
    })
    .await
}

fn write<W: Write>(mut to: W, parts: &[Bytes]) -> io::Result<W> {
    parts.iter().try_for_each(|part| to.write_all(part))?;
    Ok(to)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(coding: Coding, data: &[u8]) -> Vec<u8> {
        let parts = [Bytes::copy_from_slice(data)];
        match coding {
            Coding::Gzip => {
                write(GzEncoder::new(Vec::new(), Compression::default()), &parts).unwrap().finish()
            }
            Coding::Deflate => {
                write(ZlibEncoder::new(Vec::new(), Compression::default()), &parts).unwrap().finish()
            }
        }
        .unwrap()
    }

    const BOTH: [Coding; 2] = [Coding::Gzip, Coding::Deflate];

    #[tokio::test]
    async fn there_and_back() {
        let data: Vec<u8> = (0..100_000u32).flat_map(|i| (i % 1000).to_le_bytes()).collect();
        for coding in BOTH {
            for data in [&data[..], b"", b"short"] {
                let parts = data.chunks(1000).map(Bytes::copy_from_slice).collect();
                let packed = pack(coding, parts).await.unwrap();
                assert_eq!(unpack(coding, packed, data.len()).await.unwrap(), data);
            }
        }
    }

    #[test]
    fn more_than_the_limit_is_not_unpacked() {
        let zeros = vec![0; 10 << 20];
        for coding in BOTH {
            let bomb = packed(coding, &zeros);
            assert!(bomb.len() < 20_000);
            assert_eq!(unpack_now(coding, &bomb, zeros.len() - 1).unwrap_err().status, 413);
            assert_eq!(unpack_now(coding, &bomb, zeros.len()).unwrap(), zeros);
        }
    }

    #[tokio::test]
    async fn few_bytes_do_not_become_very_many() {
        let zeros = vec![0; UNSUSPICIOUS + 1];
        for coding in BOTH {
            let bomb = Bytes::from(packed(coding, &zeros));
            assert_eq!(unpack(coding, bomb, usize::MAX).await.unwrap_err().status, 413);
            let most = Bytes::from(packed(coding, &zeros[1..]));
            assert_eq!(unpack(coding, most, usize::MAX).await.unwrap().len(), UNSUSPICIOUS);
        }
        assert_eq!(plausible(2 * UNSUSPICIOUS), 128 * UNSUSPICIOUS);
    }

    #[test]
    fn what_is_not_packed_so_is_refused() {
        for coding in BOTH {
            let good = packed(coding, b"some data");
            let mut changed = good.clone();
            let last = changed.len() - 1;
            changed[last] ^= 1;
            for bad in [b"plain".to_vec(), good[..last].to_vec(), [&good[..], b"more"].concat(), changed] {
                let e = unpack_now(coding, &bad, 1000).unwrap_err();
                assert_eq!(e.status, 400, "{coding:?} {bad:?}");
            }
            let other = if coding == Coding::Gzip { Coding::Deflate } else { Coding::Gzip };
            assert_eq!(unpack_now(other, &good, 1000).unwrap_err().status, 400);
        }
    }

    #[test]
    fn codings_of_requests() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            values.iter().for_each(|v| {
                headers.append(header::CONTENT_ENCODING, v.parse().unwrap());
            });
            of_request(&headers).map_err(|e| e.status.as_u16())
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["gzip"]), Ok(Some(Coding::Gzip)));
        assert_eq!(of(&[" Deflate "]), Ok(Some(Coding::Deflate)));
        assert_eq!(of(&["identity", "gzip"]), Ok(Some(Coding::Gzip)));
        for bad in [&["br"][..], &["gzip, deflate"], &["gzip", "gzip"]] {
            assert_eq!(of(bad), Err(415), "{bad:?}");
        }
    }

    #[test]
    fn codings_of_answers() {
        use Coding::{Deflate, Gzip};
        for (value, expected) in [
            ("", None),
            ("gzip", Some(Gzip)),
            ("deflate", Some(Deflate)),
            ("gzip, deflate", Some(Gzip)),
            ("deflate, gzip", Some(Gzip)),
            ("gzip;q=0.1, deflate", Some(Deflate)),
            ("GZIP ; Q=0.5,deflate;q=0.4", Some(Gzip)),
            ("identity", None),
            ("identity, gzip;q=0.5", None),
            ("identity;q=0.5, gzip", Some(Gzip)),
            ("gzip;q=0", None),
            ("gzip;q=x", None),
            ("gzip;q=NaN", None),
            ("*", Some(Gzip)),
            ("*, gzip;q=0", Some(Deflate)),
            ("br", None),
            (";;,=,q", None),
        ] {
            assert_eq!(accepted([value].into_iter()), expected, "{value}");
        }
        let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"))]);
        assert_eq!(of_response(&headers, WORTH - 1), None);
        assert_eq!(of_response(&headers, WORTH), Some(Gzip));
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(body in proptest::collection::vec(any::<u8>(), 0..64)) {
            for coding in BOTH {
                let _ = unpack_now(coding, &body, 1000);
            }
            let text = String::from_utf8_lossy(&body);
            let _ = accepted([&*text].into_iter());
        }
    }
}
