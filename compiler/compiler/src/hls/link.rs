//! The configuration of the link: how many compute units, in which regions, at which memory.

use std::fmt::Write as _;

use super::{EmitError, EmittedFile, Kernel};
use crate::platform::{ComputeUnit, Target};

/// File of a project: what v++ --link reads.
pub const CONNECTIVITY: &str = "connectivity.cfg";

/// Characters of a compute unit's name in an xclbin's IP_LAYOUT, `KERNEL:UNIT`.
const LONGEST_UNIT: usize = 63;

/// The link's configuration for `v++ --link --config` (UG1393, UG1702: --connectivity options); none for a part alone.
pub(crate) fn connectivity(kernel: &Kernel, target: &Target) -> Result<Option<EmittedFile>, EmitError> {
    let Some(link) = &target.link else { return Ok(None) };
    let name = &kernel.name;
    let platform = target.platform.as_deref().unwrap_or("no platform");
    let units = link.compute_units.len();
    let longest = format!("{name}:{name}_{units}");
    if longest.len() > LONGEST_UNIT {
        return Err(EmitError::Target(format!(
            "an xclbin has {LONGEST_UNIT} characters for a compute unit, and {longest} has {}; give the model's file a \
             shorter name, or fewer compute units",
            longest.len()
        )));
    }
    let mut s = format!(
        "# Link of {name} for {platform}.\n\
         # Laid out by an estimate; never tried with Vitis.\n\
         [connectivity]\n"
    );
    // Units are not named here: versions of v++ differ in how names are separated. They are called {name}_1, {name}_2, …
    let _ = writeln!(s, "nk={name}:{}", link.compute_units.len());
    for (i, unit) in link.compute_units.iter().enumerate() {
        let _ = writeln!(s, "slr={name}_{}:{}", i + 1, unit.slr);
    }
    for (i, unit) in link.compute_units.iter().enumerate() {
        for (argument, bank) in ports(kernel, unit)? {
            let _ = writeln!(s, "sp={name}_{}.{argument}:{bank}", i + 1);
        }
    }
    Ok(Some(EmittedFile::text(CONNECTIVITY, s)))
}

/// Pointers of a kernel with the banks that a compute unit has for them.
fn ports<'a>(kernel: &'a Kernel, unit: &'a ComputeUnit) -> Result<Vec<(&'a String, &'a String)>, EmitError> {
    let mut ports = Vec::new();
    for (what, arguments, banks) in [
        ("inputs", kernel.inputs.as_slice(), unit.inputs.as_slice()),
        ("outputs", kernel.outputs.as_slice(), unit.outputs.as_slice()),
        ("weights", kernel.weights.as_slice(), unit.weights.as_slice()),
    ] {
        if arguments.len() != banks.len() {
            return Err(EmitError::Target(format!(
                "its {what} have banks for {} pointers, the kernel has {}",
                banks.len(),
                arguments.len()
            )));
        }
        ports.extend(arguments.iter().zip(banks));
    }
    Ok(ports)
}
