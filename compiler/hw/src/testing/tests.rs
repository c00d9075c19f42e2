use super::*;
use crate::interp;

#[test]
fn random_programs_verify_and_run() {
    let config = Config::default();
    for seed in 0..3000 {
        let p = random_program(seed, &config);
        assert_eq!(p.verify(), Ok(()), "{p}");
        for row in random_inputs(&p, seed, 5) {
            let out = interp::run(&p, &row);
            assert_eq!(out.len(), p.outputs().len());
        }
        let text = p.to_string();
        let back: Program = text.parse().unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(back, p, "{text}");
        assert_eq!(back.to_string(), text);
    }
}
