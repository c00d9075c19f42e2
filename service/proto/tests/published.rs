//! Names, types and numbers are those that clients use. `published.txt` lists what the descriptors in the Python
//! package `tritonclient` 2.73 say, and is not made from our `.proto` files.

use std::path::Path;

use protox::prost_reflect::{
    DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, ServiceDescriptor,
};

const PUBLISHED: &str = include_str!("published.txt");

fn ours() -> DescriptorPool {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [here.join("proto"), here.join("../model-config/proto")];
    let mut compiler = protox::Compiler::new(folders).unwrap();
    compiler.open_file("grpc_service.proto").unwrap();
    compiler.descriptor_pool()
}

#[test]
fn names_types_and_numbers_are_the_published_ones() {
    let mut lines = Vec::new();
    for file in ["model_config.proto", "grpc_service.proto"] {
        let file = ours().get_file_by_name(file).unwrap();
        file.services().for_each(|s| service(&s, &mut lines));
        file.messages().for_each(|m| message(&m, &mut lines));
        file.enums().for_each(|e| enumeration(&e, &mut lines));
    }
    let published: Vec<&str> = PUBLISHED.lines().collect();
    assert!(published.len() > 400, "published.txt has only {} lines", published.len());
    for (line, published) in lines.iter().zip(&published) {
        assert_eq!(line, published);
    }
    assert_eq!(lines.len(), published.len());
}

/// The name within the package.
fn name(full: &str) -> &str {
    full.strip_prefix("inference.").unwrap()
}

fn service(service: &ServiceDescriptor, lines: &mut Vec<String>) {
    lines.push(format!("service {}", name(service.full_name())));
    for method in service.methods() {
        let stream = |yes: bool| if yes { "stream " } else { "" };
        lines.push(format!(
            "  {} {}{} -> {}{}",
            method.name(),
            stream(method.is_client_streaming()),
            name(method.input().full_name()),
            stream(method.is_server_streaming()),
            name(method.output().full_name()),
        ));
    }
}

fn message(message: &MessageDescriptor, lines: &mut Vec<String>) {
    lines.push(format!("message {}", name(message.full_name())));
    let mut fields: Vec<FieldDescriptor> = message.fields().collect();
    fields.sort_by_key(FieldDescriptor::number);
    for field in fields {
        let choice = field.containing_oneof().map(|o| format!(" ({})", o.name())).unwrap_or_default();
        lines.push(format!("  {} {} {}{choice}", field.number(), field.name(), shape(&field)));
    }
    message.child_messages().filter(|m| !m.is_map_entry()).for_each(|m| self::message(&m, lines));
    message.child_enums().for_each(|e| enumeration(&e, lines));
}

fn shape(field: &FieldDescriptor) -> String {
    match field.kind() {
        Kind::Message(entry) if field.is_map() => {
            let [key, value] = [entry.map_entry_key_field(), entry.map_entry_value_field()].map(|f| kind(&f));
            format!("map<{key}, {value}>")
        }
        _ if field.is_list() => format!("repeated {}", kind(field)),
        _ => kind(field),
    }
}

fn kind(field: &FieldDescriptor) -> String {
    let kind = format!("{:?}", field.kind());
    kind.strip_prefix("inference.").unwrap_or(&kind).to_owned()
}

fn enumeration(of: &EnumDescriptor, lines: &mut Vec<String>) {
    lines.push(format!("enum {}", name(of.full_name())));
    for value in of.values() {
        lines.push(format!("  {} {}", value.number(), value.name()));
    }
}
