//! Element types.

use std::fmt;
use std::str::FromStr;

macro_rules! dtypes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// The element type a model declares for a value.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum DType {
            $($(#[$doc])* $variant,)*
        }

        impl DType {
            /// Every element type.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name in the text form, such as `f32`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

dtypes! {
    /// IEEE half precision.
    F16 = "f16",
    /// bfloat16.
    BF16 = "bf16",
    /// IEEE single precision.
    F32 = "f32",
    /// IEEE double precision.
    F64 = "f64",
    /// Signed 4-bit integer.
    I4 = "i4",
    /// Signed 8-bit integer.
    I8 = "i8",
    /// Signed 16-bit integer.
    I16 = "i16",
    /// Signed 32-bit integer.
    I32 = "i32",
    /// Signed 64-bit integer.
    I64 = "i64",
    /// Unsigned 4-bit integer.
    U4 = "u4",
    /// Unsigned 8-bit integer.
    U8 = "u8",
    /// Unsigned 16-bit integer.
    U16 = "u16",
    /// Unsigned 32-bit integer.
    U32 = "u32",
    /// Unsigned 64-bit integer; tensors hold values up to `i64::MAX`.
    U64 = "u64",
    /// Truth value, held as 0 or 1.
    Bool = "bool",
}

impl DType {
    /// Whether this is a floating-point type.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::BF16 | Self::F32 | Self::F64)
    }

    /// The smallest and largest value of an integer type (`bool`: 0 and 1); `None` for floats.
    pub fn int_range(self) -> Option<(i64, i64)> {
        Some(match self {
            Self::F16 | Self::BF16 | Self::F32 | Self::F64 => return None,
            Self::I4 => (-8, 7),
            Self::U4 => (0, 15),
            Self::I8 => (i64::from(i8::MIN), i64::from(i8::MAX)),
            Self::I16 => (i64::from(i16::MIN), i64::from(i16::MAX)),
            Self::I32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
            Self::I64 => (i64::MIN, i64::MAX),
            Self::U8 => (0, i64::from(u8::MAX)),
            Self::U16 => (0, i64::from(u16::MAX)),
            Self::U32 => (0, i64::from(u32::MAX)),
            Self::U64 => (0, i64::MAX),
            Self::Bool => (0, 1),
        })
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DType {
    type Err = ();

    fn from_str(s: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|d| d.name() == s).ok_or(())
    }
}
