//! Many small Programs in one translation unit, so that tests compile the headers once for all of them.

use hs_hw::{Program, Schedule};

use super::design::Design;
use super::{EmitError, EmittedFile, firmware, shared_headers};

/// Programs compiled together.
#[derive(Debug, Clone)]
pub struct Many {
    /// The files; the translation unit is `many.cpp`.
    pub files: Vec<EmittedFile>,
    /// Name of each Program's model in the bench, in order.
    pub models: Vec<String>,
}

/// One project that holds every Program, each in a namespace of its own. Fails with the index of the first Program
/// that cannot be emitted.
pub fn emit_many(programs: &[(&Program, &Schedule)]) -> Result<Many, (usize, Vec<EmitError>)> {
    let mut emitted = shared_headers();
    let mut unit =
        String::from("#include \"ap_shift_reg.h\"\n#include \"hls_stream.h\"\n#include \"hs_bench.h\"\n");
    for (name, _) in super::KERNELS {
        unit.push_str(&format!("#include \"hypersonic/{name}\"\n"));
    }
    let mut entries = String::new();
    let mut models = Vec::new();
    for (k, (program, schedule)) in programs.iter().enumerate() {
        let name = format!("m{k}");
        let design = Design::new(program, schedule, &name).map_err(|e| (k, e))?;
        let own = firmware(&design, 0);
        let findings = crate::lint::lint(&own);
        if !findings.is_empty() {
            return Err((k, findings.into_iter().map(EmitError::Lint).collect()));
        }
        for file in own {
            let path = file.path.replacen("firmware/", &format!("{name}/"), 1);
            emitted.push(EmittedFile { path, bytes: file.bytes });
        }
        unit.push_str(&format!(
            "namespace {name} {{\n#include \"{name}/{name}_kernel.cpp\"\n#include \"tb/{name}_kernel_bench.h\"\n}}\n"
        ));
        entries.push_str(&format!("        &{name}::model_{name},\n"));
        models.push(name);
    }
    unit.push_str(&format!(
        "int main(int argc, char **argv) {{\n    const hypersonic_bench::model *const models[] = {{\n{entries}    }};\n    \
         return hypersonic_bench::main_of(models, {}, argc, argv);\n}}\n",
        programs.len()
    ));
    // The kernel headers lie where the models' own includes find them.
    for file in &mut emitted {
        file.path = file.path.replacen("firmware/hypersonic/", "hypersonic/", 1);
    }
    emitted.push(EmittedFile { path: "many.cpp".to_owned(), bytes: unit.into_bytes() });
    emitted.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Many { files: emitted, models })
}
