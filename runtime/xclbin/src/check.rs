//! Whether a file's kernel is the one that a host expects.

use std::fmt;

use hs_hw::{Fingerprint, KERNEL_ABI};

use crate::{Design, Kernel, Role, error::quoted};

/// The kernel that a host is going to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected<'a> {
    /// Its function.
    pub kernel: &'a str,
    /// Its arguments that are pointers, in order, those of the weights aside.
    pub pointers: Vec<&'a str>,
    /// Its argument that counts rows, after them.
    pub rows: &'a str,
    /// The pointer to its weights, after that.
    pub weights: Option<&'a str>,
    /// The bits that it computes.
    pub fingerprint: Fingerprint,
}

/// Something that is not as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What it is about.
    pub subject: String,
    /// What the file says.
    pub found: String,
    /// What would fit.
    pub expected: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: found {}, expected {}", self.subject, self.found, self.expected)
    }
}

impl Design {
    /// What is not as expected; nothing: a host can call the kernel. That the file says nothing of its package is no
    /// difference: the kernel's trailer says which bits it computes.
    pub fn differences(&self, expected: &Expected<'_>) -> Vec<Difference> {
        let mut all = Vec::new();
        let mut say = |subject: String, found: String, expected: String| {
            all.push(Difference { subject, found, expected });
        };
        if let Some(user) = &self.user {
            if user.fingerprint != expected.fingerprint {
                let found = format!("{}, of {}", user.fingerprint, quoted(&user.package));
                say("fingerprint".to_owned(), found, expected.fingerprint.to_string());
            }
            if user.kernel_abi != KERNEL_ABI {
                let found = format!("version {}", user.kernel_abi);
                say("kernel ABI".to_owned(), found, format!("version {KERNEL_ABI}"));
            }
        }
        match self.kernel(expected.kernel) {
            Some(kernel) => kernel.differ(expected, &mut say),
            None => {
                let names: Vec<_> = self.kernels.iter().map(|k| quoted(&k.name)).collect();
                let found = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                say("kernels".to_owned(), found, quoted(expected.kernel));
            }
        }
        all
    }
}

impl Kernel {
    fn differ(&self, expected: &Expected<'_>, say: &mut impl FnMut(String, String, String)) {
        let pointers = expected.pointers.iter().map(|name| (*name, Role::Pointer, 8));
        let rows = [(expected.rows, Role::Scalar, 4)];
        let wanted: Vec<_> =
            pointers.chain(rows).chain(expected.weights.map(|name| (name, Role::Pointer, 8))).collect();
        if self.arguments.len() != wanted.len() {
            let names: Vec<_> = self.arguments.iter().map(|a| quoted(&a.name)).collect();
            let expected: Vec<_> = wanted.iter().map(|(name, ..)| quoted(name)).collect();
            say(format!("arguments of {}", quoted(&self.name)), names.join(", "), expected.join(", "));
        }
        for (id, (name, role, size)) in wanted.iter().enumerate() {
            let subject = format!("argument {} of {}", quoted(name), quoted(&self.name));
            let Some(found) = self.argument(name) else {
                say(subject, "none of this name".to_owned(), format!("a {role} with id {id}"));
                continue;
            };
            if (found.id, found.role, found.size) != (Some(id as u64), *role, *size) {
                let is = format!(
                    "a {} of {} bytes with id {}",
                    found.role,
                    found.size,
                    found.id.unwrap_or_default()
                );
                say(subject.clone(), is, format!("a {role} of {size} bytes with id {id}"));
            }
            if *role == Role::Pointer
                && let Some(unit) = self.compute_units.iter().find(|u| u.banks_of(id).next().is_none())
            {
                say(
                    subject,
                    format!("no memory in compute unit {}", quoted(&unit.name)),
                    "one at least".to_owned(),
                );
            }
        }
        if self.compute_units.is_empty() {
            let subject = format!("compute units of {}", quoted(&self.name));
            say(subject, "none".to_owned(), "one at least".to_owned());
        }
    }
}
