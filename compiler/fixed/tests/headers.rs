//! Casts, conversions from double and expressions against Xilinx's open `ap_types` headers, bit for bit.
//!
//! One generated C++ program instantiates every case's types, reads the operands from a file and writes the
//! results to another. `HYPERSONIC_AP_TYPES` names the headers' folder; without it the cache is looked at.
//! Where the headers or g++ are not installed the test says so and checks nothing; where the variable is
//! set they must be there.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use hs_fixed::{Format, Overflow, Rounding, Type};

const PROGRAM: &str = r#"
#include <ap_fixed.h>
#include <cstdio>
#include <cstring>
#include <vector>

typedef unsigned long long u64;
typedef std::vector<u64> Words;

// A code is two words, low first, sign- or zero-extended to 128 bits.
template <int W, bool S> void put(Words& out, const ap_private<W, S>& v) {
  ap_private<128, S> wide(v);
  out.push_back(wide.to_uint64());
  out.push_back((wide >> 64).to_uint64());
}
template <int W, int I, bool S, ap_q_mode Q, ap_o_mode O, int N>
void expr(Words& out, const ap_fixed_base<W, I, S, Q, O, N>& x) {
  out.push_back(W);
  out.push_back((u64)(long long)I);
  out.push_back(S);
  put(out, x.V);
}
template <class T> void get(T& x, const u64* in) {
  ap_private<128, true> wide;
  wide = (long long)in[1];
  wide = wide << 64;
  wide = wide | ap_private<64, false>(in[0]);
  x.V = wide;
}

template <class Src, class Dst> void cast(const u64* in, u64 n, Words& out) {
  for (u64 i = 0; i < n; ++i) {
    Src s;
    get(s, in + 2 * i);
    Dst d(s);
    put(out, d.V);
  }
}
template <class Dst> void convert(const u64* in, u64 n, Words& out) {
  for (u64 i = 0; i < n; ++i) {
    double value;
    std::memcpy(&value, in + 2 * i, 8);
    Dst d(value);
    put(out, d.V);
  }
}
template <class A, class B> void exact(const u64* in, u64 n, Words& out) {
  for (u64 i = 0; i + 1 < n; i += 2) {
    A a;
    B b;
    get(a, in + 2 * i);
    get(b, in + 2 * i + 2);
    expr(out, a * b);
    expr(out, a + b);
    expr(out, a - b);
  }
}

typedef void (*Case)(const u64*, u64, Words&);
static const Case cases[] = {
@CASES@
};

int main(int argc, char** argv) {
  std::FILE* f = std::fopen(argv[1], "rb");
  if (!f) return 1;
  std::FILE* g = std::fopen(argv[2], "wb");
  if (!g) return 1;
  for (Case c : cases) {
    u64 n;
    if (std::fread(&n, 8, 1, f) != 1) return 2;
    Words in(2 * n), out;
    if (std::fread(in.data(), 16, n, f) != n) return 2;
    c(in.data(), n, out);
    u64 m = out.size();
    std::fwrite(&m, 8, 1, g);
    std::fwrite(out.data(), 8, m, g);
  }
  return std::fclose(g);
}
"#;

/// What one instantiation computes, and on what.
enum Case {
    Cast { from: Format, to: Type, codes: Vec<i128> },
    Convert { to: Type, values: Vec<f64> },
    Exact { a: Format, b: Format, codes: Vec<(i128, i128)> },
}

/// A deterministic source of cases (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn wide(&mut self) -> i128 {
        (u128::from(self.next()) << 64 | u128::from(self.next())) as i128
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[(self.next() % from.len() as u64) as usize]
    }
}

fn format(signed: bool, width: u32, int: i32) -> Format {
    Format::new(signed, width, int).expect("a legal format")
}

/// The low bits of `v` as a code of `f`.
fn code(v: i128, f: Format) -> i128 {
    let gap = 128 - f.width();
    let top = (v as u128) << gap;
    if f.is_signed() { (top as i128) >> gap } else { (top >> gap) as i128 }
}

/// Ends and middle of `from`'s range, the neighbourhood of each bit, and of the bounds and rounding points
/// of `to`, then random codes of every magnitude.
fn codes(from: Format, to: Format, random: &mut Random) -> Vec<i128> {
    let mut v = vec![from.min(), from.max(), 0];
    let drop = from.frac() - to.frac();
    for bound in [to.min(), to.max(), 0, 1, 2, -1, -2] {
        let at = if drop >= 0 {
            1i128.checked_shl(drop as u32).and_then(|f| bound.checked_mul(f))
        } else {
            bound.checked_shr(drop.unsigned_abs())
        };
        let Some(at) = at else { continue };
        let half = if (1..=127).contains(&drop) { 1i128 << (drop - 1) } else { 0 };
        for step in [-half, 0, half] {
            v.extend([-2, -1, 0, 1, 2].map(|near| at.wrapping_add(step).wrapping_add(near)));
        }
    }
    for bit in 0..from.width() {
        v.extend([(1i128 << bit).wrapping_sub(1), 1i128 << bit, -1i128 << bit]);
    }
    for _ in 0..40 {
        let r = random.wide();
        v.push(r >> (random.next() % 127));
        // A run of zeros or ones at the bottom: ties and near-ties.
        let low = (1i128 << (random.next() % 100)) - 1;
        v.extend([r & !low, r | low]);
    }
    let mut v: Vec<_> = v.into_iter().map(|c| code(c, from)).collect();
    v.sort_unstable();
    v.dedup();
    v
}

fn doubles(to: Format, random: &mut Random) -> Vec<f64> {
    let mut v = vec![0.0, -0.0, 0.1, -0.1, 0.5, 1.0, 1e9, -1e9, 1e300, -1e300, f64::MAX, f64::MIN_POSITIVE];
    let ulp = 2f64.powi(-to.frac());
    let ends = [to.min(), to.max()].map(|c| c as f64);
    for at in ends.into_iter().chain([0.0, 1.0, 2.0, -1.0, -2.0]) {
        for step in [-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5] {
            let x = (at + step) * ulp;
            v.extend([x, x.next_up(), x.next_down()]);
        }
    }
    for _ in 0..60 {
        let mantissa = (random.next() as i64) as f64;
        v.push(mantissa * 2f64.powi(-to.frac() - (random.next() % 90) as i32));
    }
    // The headers read subnormals as if they were normal numbers.
    v.retain(|x| *x == 0.0 || x.is_normal());
    v
}

/// Overflow modes and how many bits saturate.
const OVERFLOWS: [Overflow; 9] = [
    Overflow::Sat,
    Overflow::SatZero,
    Overflow::SatSym,
    Overflow::Wrap { n: 0 },
    Overflow::Wrap { n: 1 },
    Overflow::Wrap { n: 3 },
    Overflow::WrapSm { n: 0 },
    Overflow::WrapSm { n: 1 },
    Overflow::WrapSm { n: 3 },
];

/// Source and target shapes: fraction dropped, kept and gained, integer bits lost and gained, far shifts.
const SHAPES: [((u32, i32), (u32, i32)); 22] = [
    ((16, 6), (8, 4)),
    ((16, 6), (8, 6)),
    ((16, 6), (8, 2)),
    ((9, 5), (4, 4)),
    ((8, 4), (16, 6)),
    ((8, 4), (16, 2)),
    ((8, 3), (8, 3)),
    ((12, 12), (5, 9)),
    ((5, 9), (12, 12)),
    ((10, -3), (6, -2)),
    ((6, 20), (6, 22)),
    ((8, 8), (7, 0)),
    ((33, 13), (18, 8)),
    ((48, 20), (16, 6)),
    ((64, 32), (64, 30)),
    ((64, 64), (64, 32)),
    ((128, 60), (64, 32)),
    ((100, 20), (32, 12)),
    ((127, 127), (64, 40)),
    ((4, 4), (64, 8)),
    ((16, -30), (8, 4)),
    ((3, 3), (4, 40)),
];

fn cases() -> Vec<Case> {
    let mut random = Random(1);
    let mut cases = Vec::new();
    let mut shape = 0;
    for rounding in Rounding::ALL {
        for overflow in OVERFLOWS {
            for (from_signed, to_signed) in [(true, true), (true, false), (false, true), (false, false)] {
                // The headers stop the program at an unsigned AP_WRAP_SM.
                if !to_signed && matches!(overflow, Overflow::WrapSm { .. }) {
                    continue;
                }
                for _ in 0..2 {
                    let ((w1, i1), (w2, i2)) = SHAPES[shape % SHAPES.len()];
                    shape += 1;
                    let from = format(from_signed, w1.min(127 + u32::from(from_signed)), i1);
                    let to = Type::new(format(to_signed, w2, i2), rounding, overflow);
                    cases.push(Case::Cast { from, to, codes: codes(from, to.format, &mut random) });
                }
            }
        }
    }
    // One-bit targets and sources have corner cases of their own.
    for rounding in Rounding::ALL {
        for overflow in [Overflow::Sat, Overflow::SatSym, Overflow::SatZero, Overflow::WRAP] {
            let signed = random.pick(&[true, false]);
            let (from, to) =
                random.pick(&[((4, 2), (1, 1)), ((1, 1), (4, 2)), ((4, 2), (1, 0)), ((2, 2), (1, 2))]);
            let from = format(random.pick(&[true, false]), from.0, from.1);
            let to = Type::new(format(signed, to.0, to.1), rounding, overflow);
            cases.push(Case::Cast { from, to, codes: codes(from, to.format, &mut random) });
        }
    }
    for rounding in Rounding::ALL {
        for overflow in OVERFLOWS {
            let signed = matches!(overflow, Overflow::WrapSm { .. }) || random.pick(&[true, false]);
            let (w, i) = random.pick(&[(16, 6), (8, 8), (18, 1), (5, -2), (32, 12), (64, 20), (7, 11)]);
            let to = Type::new(format(signed, w, i), rounding, overflow);
            cases.push(Case::Convert { to, values: doubles(to.format, &mut random) });
        }
    }
    for _ in 0..40 {
        let (w1, w2) = (random.pick(&[1, 4, 8, 16, 33, 60, 64]), random.pick(&[1, 5, 16, 32, 63]));
        let a =
            format(random.pick(&[true, false]), w1, random.pick(&[-3, 0, 1, 6, w1 as i32, w1 as i32 + 4]));
        let b = format(random.pick(&[true, false]), w2, random.pick(&[-2, 0, 2, 5, w2 as i32]));
        let (left, right) = (codes(a, b, &mut random), codes(b, a, &mut random));
        let pairs = (0..60).map(|_| (random.pick(&left), random.pick(&right)));
        let ends = [(a.min(), b.min()), (a.min(), b.max()), (a.max(), b.min()), (a.max(), b.max())];
        cases.push(Case::Exact { a, b, codes: ends.into_iter().chain(pairs).collect() });
    }
    cases
}

impl Case {
    fn instantiation(&self) -> String {
        match self {
            Self::Cast { from, to, .. } => format!("cast<{}, {}>", from.hls(), to.hls()),
            Self::Convert { to, .. } => format!("convert<{}>", to.hls()),
            Self::Exact { a, b, .. } => format!("exact<{}, {}>", a.hls(), b.hls()),
        }
    }

    /// Operands as the program reads them.
    fn operands(&self) -> Vec<i128> {
        match self {
            Self::Cast { codes, .. } => codes.clone(),
            Self::Convert { values, .. } => values.iter().map(|x| i128::from(x.to_bits())).collect(),
            Self::Exact { codes, .. } => codes.iter().flat_map(|(a, b)| [*a, *b]).collect(),
        }
    }

    /// What this crate says the program writes, with a line of text about each result.
    fn expected(&self) -> Vec<(String, Vec<u64>)> {
        match self {
            Self::Cast { from, to, codes } => {
                let result = |c: &i128| (format!("{c}"), words(to.cast(*c, *from)).to_vec());
                codes.iter().map(result).collect()
            }
            Self::Convert { to, values } => values
                .iter()
                .map(|x| (format!("{x:e}"), words(to.quantize(*x).expect("no NaN")).to_vec()))
                .collect(),
            Self::Exact { a, b, codes } => {
                let (mul, add, sub) = (a.mul(*b), a.add(*b), a.sub(*b));
                let frac = a.frac().max(b.frac());
                let mut out = Vec::new();
                for (x, y) in codes {
                    let (ax, by) = (x << (frac - a.frac()), y << (frac - b.frac()));
                    for (op, f, v) in [('*', &mul, x * y), ('+', &add, ax + by), ('-', &sub, ax - by)] {
                        let f = f.as_ref().expect("at most 128 bits");
                        let mut w =
                            vec![u64::from(f.width()), i64::from(f.int()) as u64, u64::from(f.is_signed())];
                        w.extend(words(v));
                        out.push((format!("{x} {op} {y}"), w));
                    }
                }
                out
            }
        }
    }
}

fn words(code: i128) -> [u64; 2] {
    [code as u64, (code >> 64) as u64]
}

fn headers() -> Option<PathBuf> {
    let complete = |dir: &Path| dir.join("ap_fixed.h").is_file() && dir.join("etc/ap_private.h").is_file();
    if let Some(dir) = std::env::var_os("HYPERSONIC_AP_TYPES") {
        let dir = PathBuf::from(dir);
        assert!(complete(&dir), "HYPERSONIC_AP_TYPES={} has no ap_types headers", dir.display());
        return Some(dir);
    }
    let set = |name| std::env::var_os(name).map(PathBuf::from);
    let user = || set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    let cache = set("HYPERSONIC_CACHE").or_else(|| Some(user()?.join("hypersonic")))?;
    Some(cache.join("ap_types-1.3.0")).filter(|d| complete(d))
}

#[test]
fn agrees_with_the_headers() {
    let Some(include) = headers() else {
        eprintln!("skipped: no ap_types headers (scripts/fetch-ap-types puts them into the cache)");
        return;
    };
    if Command::new("g++").arg("--version").output().is_err() {
        eprintln!("skipped: no g++");
        return;
    }
    let cases = cases();
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("headers");
    fs::create_dir_all(&dir).unwrap();

    let mut table = String::new();
    let mut operands = Vec::new();
    for case in &cases {
        writeln!(table, "  &{},", case.instantiation()).unwrap();
        let values = case.operands();
        operands.extend((values.len() as u64).to_le_bytes());
        for v in values {
            operands.extend(v.to_le_bytes());
        }
    }
    fs::write(dir.join("cases.cpp"), PROGRAM.replace("@CASES@", &table)).unwrap();
    fs::write(dir.join("in.bin"), operands).unwrap();

    // NDEBUG: the headers assert that a cast drops no more bits than the source has, then handle it.
    let compiler = Command::new("g++")
        .args(["-std=c++14", "-O0", "-w", "-DNDEBUG", "-I"])
        .arg(&include)
        .args(["cases.cpp", "-o", "cases"])
        .current_dir(&dir)
        .output()
        .unwrap();
    assert!(compiler.status.success(), "g++ failed:\n{}", String::from_utf8_lossy(&compiler.stderr));
    let run = Command::new(dir.join("cases")).args(["in.bin", "out.bin"]).current_dir(&dir).output().unwrap();
    assert!(run.status.success(), "{:?}: {}", run.status, String::from_utf8_lossy(&run.stderr));

    let bytes = fs::read(dir.join("out.bin")).unwrap();
    let (chunks, rest) = bytes.as_chunks::<8>();
    assert!(rest.is_empty());
    let mut found = chunks.iter().map(|c| u64::from_le_bytes(*c));
    let mut report = String::new();
    let (mut results, mut wrong, mut wrong_cases) = (0usize, 0usize, 0usize);
    for case in &cases {
        let expected = case.expected();
        let n = found.next().expect("a count for each case") as usize;
        assert_eq!(n, expected.iter().map(|(_, w)| w.len()).sum::<usize>(), "{}", case.instantiation());
        let before = wrong;
        for (what, want) in expected {
            let got: Vec<u64> = found.by_ref().take(want.len()).collect();
            results += 1;
            if got != want {
                wrong += 1;
                if wrong - before <= 3 {
                    let signed = |w: &[u64]| w.iter().map(|w| *w as i64).collect::<Vec<_>>();
                    let (got, want) = (signed(&got), signed(&want));
                    writeln!(report, "{} of {what}: headers {got:?}, we {want:?}", case.instantiation())
                        .unwrap();
                }
            }
        }
        wrong_cases += usize::from(wrong > before);
    }
    assert_eq!(found.next(), None);
    assert_eq!(wrong, 0, "{wrong} of {results} results in {wrong_cases} of {} cases:\n{report}", cases.len());
}
