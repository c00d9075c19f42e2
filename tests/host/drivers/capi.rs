// Runs a package through the C interface: PACKAGE ROWS IN OUT, the files as the C example's.
#[path = "rust/hypersonic.rs"]
mod hypersonic;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let rows: usize = args[2].parse().unwrap();
    let x = std::fs::read(&args[3]).unwrap();
    let x: Vec<f32> = x.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    assert_eq!(hypersonic::version().split('.').count(), 3);
    let refused = hypersonic::Model::open("/nowhere", "emulator").unwrap_err();
    assert!(refused.status == 2 && refused.to_string().contains("/nowhere"), "{refused}");
    let model = hypersonic::Model::open(&args[1], "emulator").unwrap();
    let refused = model.run(&[&x], rows + 1).unwrap_err();
    assert!(refused.status == 1 && refused.to_string().contains("rows have"), "{refused}");
    let y = model.run(&[&x], rows).unwrap().remove(0);
    std::fs::write(&args[4], y.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()).unwrap();

    let (input, output) = (&model.inputs()[0], &model.outputs()[0]);
    let packed = vec![0; input.packed_bytes(rows).unwrap()];
    let results = model.run_packed(&[&packed], rows).unwrap().remove(0);
    assert_eq!(results.len(), output.packed_bytes(rows).unwrap() + 64);
    assert_eq!(&results[results.len() - 64..][..8], b"hypersnc");
    println!("{} {:?} {:?} {} {}", input.name, input.shape, input.perm, input.ty, input.elements);
}
