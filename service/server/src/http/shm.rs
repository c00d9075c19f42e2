//! Shared memory: which regions there are.

use axum::http::StatusCode;
use hs_serve::{Region, SharedMemory};
use serde::{Deserialize, Serialize};

use super::{answer::Answer, error::HttpError, object, routes::Memory};

pub(super) fn system(regions: &SharedMemory, asked: &Memory<'_>, body: &[u8]) -> Result<Answer, HttpError> {
    match asked {
        Memory::Status(name) => {
            #[derive(Serialize)]
            struct Wire {
                name: String,
                key: String,
                offset: u64,
                byte_size: u64,
            }
            let all = regions.status(name)?.into_iter().map(|r| Wire {
                name: r.name,
                key: r.key,
                offset: r.offset,
                byte_size: r.byte_size,
            });
            Answer::json(&all.collect::<Vec<_>>())
        }
        Memory::Register(name) => {
            #[derive(Default, Deserialize)]
            struct Asked {
                key: String,
                #[serde(default)]
                offset: u64,
                byte_size: u64,
            }
            if body.trim_ascii().is_empty() {
                return Err(HttpError::bad(
                    "registering shared memory needs a body: {\"key\": \"/name\", \"offset\": 0, \"byte_size\": 1}",
                ));
            }
            let Asked { key, offset, byte_size } = object::parse(body)?;
            regions.register(Region { name: name.to_string(), key, offset, byte_size })?;
            Ok(Answer::done())
        }
        Memory::Unregister(name) => {
            regions.unregister(name)?;
            Ok(Answer::done())
        }
    }
}

/// There is never a region, as nothing here reads a GPU's memory.
pub(super) fn cuda(asked: &Memory<'_>) -> Result<Answer, HttpError> {
    match asked {
        Memory::Status(name) if name.is_empty() => Answer::json(&[(); 0]),
        Memory::Status(name) => Err(HttpError::new(
            StatusCode::NOT_FOUND,
            format_args!("Unable to find cuda shared memory region: '{name}'"),
        )),
        Memory::Register(name) => Err(HttpError::new(
            StatusCode::NOT_IMPLEMENTED,
            format_args!(
                "failed to register CUDA shared memory region '{name}': this server reads no memory of GPUs; send \
                 tensors in the request, or in system shared memory"
            ),
        )),
        Memory::Unregister(_) => Ok(Answer::done()),
    }
}
