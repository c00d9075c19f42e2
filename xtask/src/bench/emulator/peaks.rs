//! What a core can multiply at most: loops of multiplications and sums on registers, as the emulator's kernels have them
//! without memory.
//!
//! Each is a tile of accumulators that do not depend on each other, so many that no multiplier waits for a result.

use serde_json::{Value, json};

/// A kernel of one instruction set.
struct Peak {
    operands: &'static str,
    isa: &'static str,
    instructions: &'static str,
    /// Of one thread, and of one on each core at once.
    gmacs: Option<[f64; 2]>,
}

/// Highest GMAC/s of one thread and of all cores, for each kind of operands and instruction set; null where the machine
/// lacks it.
pub(super) fn measure() -> Value {
    let one = |p: &Peak| {
        json!({
            "operands": p.operands,
            "isa": p.isa,
            "instructions": p.instructions,
            "gmac_per_s": p.gmacs.map(|[one, _]| one),
            "gmac_per_s_of_all_cores": p.gmacs.map(|[_, all]| all),
        })
    };
    kernels().iter().map(one).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn kernels() -> Vec<Peak> {
    Vec::new()
}

#[cfg(target_arch = "x86_64")]
use x86::kernels;

#[cfg(target_arch = "x86_64")]
#[expect(
    unsafe_code,
    reason = "calls of functions compiled for more than the build's target, after a look whether they run"
)]
mod x86 {
    use std::{
        arch::{asm, x86_64::*},
        hint::black_box,
        sync::Barrier,
        thread,
        time::Instant,
    };

    use super::Peak;

    /// The fastest of so many takes counts: a millisecond or so each, that some are left alone by what else runs.
    const TAKES: usize = 200;
    const PASSES: u64 = 1 << 18;

    /// Defines a loop over a tile of `$rows` by `$columns` accumulators: in each pass `$step` is done for each of them, with an
    /// operand of its row and one of its column. All fit the registers of class `$class`.
    macro_rules! tile {
        ($name:ident, $features:literal, $class:ident, $vector:ty, $rows:literal x $columns:literal, $fill:expr, |$acc:ident, $a:ident, $b:ident| $step:expr) => {
            #[target_feature(enable = $features)]
            fn $name(passes: u64) -> f64 {
                let mut left: [$vector; $rows] = black_box([$fill; $rows]);
                let mut right: [$vector; $columns] = black_box([$fill; $columns]);
                let mut tile: [[$vector; $columns]; $rows] = black_box([[$fill; $columns]; $rows]);
                for _ in 0..passes {
                    // No instruction; but then the compiler knows nothing of the operands, and can neither move products
                    // out of the loop nor use them twice.
                    macro_rules! unknown {
                        ($operands:ident) => {
                            for operand in &mut $operands {
                                // SAFETY: as it says, nothing is done.
                                unsafe {
                                    asm!(
                                        "/* {0} */",
                                        inout($class) * operand,
                                        options(nomem, nostack, preserves_flags)
                                    );
                                }
                            }
                        };
                    }
                    unknown!(left);
                    unknown!(right);
                    for (row, $a) in tile.iter_mut().zip(left) {
                        for (sum, $b) in row.iter_mut().zip(right) {
                            let $acc = *sum;
                            *sum = $step;
                        }
                    }
                }
                black_box(tile);
                (passes as usize * $rows * $columns) as f64
            }
        };
    }

    macro_rules! tile_512 {
        ($name:ident, $features:literal, $fill:expr, |$acc:ident, $a:ident, $b:ident| $step:expr) => {
            tile!($name, $features, zmm_reg, __m512i, 4 x 4, $fill, |$acc, $a, $b| $step);
        };
    }

    macro_rules! tile_256 {
        ($name:ident, $fill:expr, |$acc:ident, $a:ident, $b:ident| $step:expr) => {
            tile!($name, "avx2", ymm_reg, __m256i, 4 x 2, $fill, |$acc, $a, $b| $step);
        };
    }

    tile_512!(u8_512, "avx512f,avx512vnni", _mm512_set1_epi8(3), |c, a, b| _mm512_dpbusd_epi32(c, a, b));
    tile_512!(i16_512, "avx512f,avx512vnni", _mm512_set1_epi16(3), |c, a, b| _mm512_dpwssd_epi32(c, a, b));
    tile_512!(shift16_512, "avx512f,avx512bw,avx512vbmi2", _mm512_set1_epi16(3), |c, a, b| {
        let bits = _mm512_shrdv_epi16(_mm512_mullo_epi16(a, b), _mm512_mulhi_epi16(a, b), a);
        _mm512_add_epi16(c, bits)
    });
    tile_512!(i32_512, "avx512f", _mm512_set1_epi32(3), |c, a, b| {
        _mm512_add_epi32(c, _mm512_mullo_epi32(a, b))
    });
    tile_512!(shift_512, "avx512f", _mm512_set1_epi32(3), |c, a, b| {
        _mm512_add_epi32(c, _mm512_srai_epi32::<2>(_mm512_mullo_epi32(a, b)))
    });
    tile!(f32_512, "avx512f", zmm_reg, __m512, 4 x 4, _mm512_set1_ps(0.5), |c, a, b| _mm512_fmadd_ps(a, b, c));

    tile_256!(u8_256, _mm256_set1_epi8(3), |c, a, b| {
        _mm256_add_epi32(c, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), _mm256_set1_epi16(1)))
    });
    tile_256!(i16_256, _mm256_set1_epi16(3), |c, a, b| _mm256_add_epi32(c, _mm256_madd_epi16(a, b)));
    tile_256!(i32_256, _mm256_set1_epi32(3), |c, a, b| _mm256_add_epi32(c, _mm256_mullo_epi32(a, b)));
    tile_256!(shift_256, _mm256_set1_epi32(3), |c, a, b| {
        _mm256_add_epi32(c, _mm256_srai_epi32::<2>(_mm256_mullo_epi32(a, b)))
    });
    tile!(f32_256, "avx2,fma", ymm_reg, __m256, 4 x 2, _mm256_set1_ps(0.5), |c, a, b| _mm256_fmadd_ps(a, b, c));

    /// GMAC/s of a loop with `lanes` products a step, in so many threads at once; it gives the number of its steps.
    fn gmacs(run: impl Fn(u64) -> f64 + Sync, lanes: f64, threads: usize) -> f64 {
        let start = Barrier::new(threads);
        let takes = || {
            let take = |_| {
                start.wait();
                let begin = Instant::now();
                let steps = run(PASSES);
                steps * lanes / begin.elapsed().as_secs_f64() * 1e-9
            };
            (0..TAKES).map(take).collect::<Vec<f64>>()
        };
        let all: Vec<Vec<f64>> = thread::scope(|s| {
            let threads: Vec<_> = (0..threads).map(|_| s.spawn(takes)).collect();
            threads.into_iter().map(|t| t.join().expect("a loop does not panic")).collect()
        });
        (0..TAKES).map(|take| all.iter().map(|of| of[take]).sum()).fold(0.0, f64::max)
    }

    pub(super) fn kernels() -> Vec<Peak> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let avx512 = is_x86_feature_detected!("avx512f");
        let vnni = avx512 && is_x86_feature_detected!("avx512vnni");
        let vbmi2 = avx512 && is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vbmi2");
        let avx2 = is_x86_feature_detected!("avx2");
        let fma = avx2 && is_x86_feature_detected!("fma");
        let peak = |operands, isa, instructions, lanes: f64, runs: bool, run: unsafe fn(u64) -> f64| Peak {
            operands,
            isa,
            instructions,
            // SAFETY: `runs` says that the machine has the features that `run` is compiled for.
            gmacs: runs
                .then(|| [1, cores].map(|threads| gmacs(|passes| unsafe { run(passes) }, lanes, threads))),
        };
        vec![
            peak("u8 x i8", "AVX-512 VNNI", "vpdpbusd", 64.0, vnni, u8_512),
            peak("i16 x i16", "AVX-512 VNNI", "vpdpwssd", 32.0, vnni, i16_512),
            peak("i16 x i16, in two parts", "AVX-512 VNNI", "vpdpwssd twice", 16.0, vnni, i16_512),
            peak(
                "i16 x i16, shifted",
                "AVX-512 VBMI2",
                "vpmullw, vpmulhw, vpshrdvw, vpaddw",
                32.0,
                vbmi2,
                shift16_512,
            ),
            peak("i32 x i32", "AVX-512", "vpmulld, vpaddd", 16.0, avx512, i32_512),
            peak("i32 x i32, shifted", "AVX-512", "vpmulld, vpsrad, vpaddd", 16.0, avx512, shift_512),
            peak("f32 x f32", "AVX-512", "vfmadd", 16.0, avx512, f32_512),
            peak("u8 x i8", "AVX2", "vpmaddubsw, vpmaddwd, vpaddd", 32.0, avx2, u8_256),
            peak("i16 x i16", "AVX2", "vpmaddwd, vpaddd", 16.0, avx2, i16_256),
            peak("i32 x i32", "AVX2", "vpmulld, vpaddd", 8.0, avx2, i32_256),
            peak("i32 x i32, shifted", "AVX2", "vpmulld, vpsrad, vpaddd", 8.0, avx2, shift_256),
            peak("f32 x f32", "AVX2, FMA", "vfmadd", 8.0, fma, f32_256),
        ]
    }
}
