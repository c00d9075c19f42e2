// As rows.cpp, with the Rust modules: `models!` calls a macro with all their names.
use std::{fs, io};

fn floats(path: &str) -> Vec<f32> {
    let bytes = fs::read(path).unwrap();
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

macro_rules! pick {
    ($($name:ident)*) => {
        fn run(task: &str, model: &str, tensor: usize, rows: usize, in_: &str, out: &str) -> Result<(), String> {
            match model {
                $(stringify!($name) => {
                    let done = if task == "pack" {
                        let t = $name::input($name::INPUTS[tensor].name).unwrap();
                        t.pack(&floats(in_), rows)
                    } else {
                        let t = $name::output($name::OUTPUTS[tensor].name).unwrap();
                        let packed = fs::read(in_).unwrap();
                        t.check_trailer(&packed, rows).and_then(|()| t.unpack(&packed, rows)).map(|v| bytes(&v))
                    };
                    fs::write(out, done.map_err(|e| e.to_string())?).unwrap();
                    Ok(())
                })*
                _ => Err(format!("no model {model}")),
            }
        }
    };
}
models!(pick);

fn main() {
    for line in io::stdin().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let number = |i: usize| words[i].parse().unwrap();
        let done = run(words[0], words[1], number(2), number(3), words[4], words[5]);
        println!("{}", done.map_or_else(|e| e.replace('\n', " "), |()| "ok".to_owned()));
    }
}
