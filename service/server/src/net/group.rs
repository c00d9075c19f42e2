//! Groups of calls that belong together.

use super::Dialect;
use crate::http::{
    page::Asset,
    routes::{Of, Route},
};

macro_rules! groups {
    ($($group:ident $name:literal $doc:literal;)*) => {
        /// A group of calls, under the names of `tritonserver`'s options.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Group {
            $(#[doc = $doc] $group,)*
        }

        impl Group {
            /// Every group.
            pub const ALL: &[Self] = &[$(Self::$group),*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$group => $name,)* }
            }
        }
    };
}

groups! {
    Health "health" "Whether the server or a model is there and ready.";
    Metadata "metadata" "What the server and its models are.";
    Inference "inference" "Inference.";
    SharedMemory "shared-memory" "Shared memory, of both kinds.";
    ModelConfig "model-config" "Configurations of models.";
    ModelRepository "model-repository" "What is in the repository; loading and unloading.";
    Statistics "statistics" "What models have done.";
    Trace "trace" "Trace settings.";
    Logging "logging" "Log settings.";
}

impl Group {
    /// The group of a call; `None`: none of the protocol's.
    pub(crate) fn of(dialect: Dialect, path: &str) -> Option<Self> {
        match dialect {
            Dialect::Http => Self::of_http(path),
            Dialect::Grpc => Self::of_grpc(path),
        }
    }

    fn of_grpc(path: &str) -> Option<Self> {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        if service == "grpc.health.v1.Health" {
            return Some(Self::Health);
        }
        match method {
            "ServerLive" | "ServerReady" | "ModelReady" => Some(Self::Health),
            "ServerMetadata" | "ModelMetadata" => Some(Self::Metadata),
            "ModelInfer" | "ModelStreamInfer" => Some(Self::Inference),
            "ModelConfig" => Some(Self::ModelConfig),
            "ModelStatistics" => Some(Self::Statistics),
            "RepositoryIndex" | "RepositoryModelLoad" | "RepositoryModelUnload" => {
                Some(Self::ModelRepository)
            }
            "SystemSharedMemoryStatus"
            | "SystemSharedMemoryRegister"
            | "SystemSharedMemoryUnregister"
            | "CudaSharedMemoryStatus"
            | "CudaSharedMemoryRegister"
            | "CudaSharedMemoryUnregister" => Some(Self::SharedMemory),
            "TraceSetting" => Some(Self::Trace),
            "LogSettings" => Some(Self::Logging),
            _ => None,
        }
    }

    fn of_http(path: &str) -> Option<Self> {
        Some(match Route::parse(path)? {
            Route::Live | Route::Ready | Route::Model(_, Of::Ready) => Self::Health,
            Route::Server | Route::Model(_, Of::Metadata) | Route::Backends => Self::Metadata,
            Route::Model(_, Of::Infer) => Self::Inference,
            Route::SystemMemory(_) | Route::CudaMemory(_) => Self::SharedMemory,
            Route::Model(_, Of::Config) => Self::ModelConfig,
            Route::Index(_) | Route::Load(_) | Route::Unload(_) => Self::ModelRepository,
            Route::Statistics | Route::Model(_, Of::Statistics) => Self::Statistics,
            Route::Trace(_) => Self::Trace,
            Route::Logging => Self::Logging,
            Route::Asset(_) => return None,
        })
    }
}

/// Whether everybody may read what lies at a path: it is the same on every server and tells nothing of this one.
pub(super) fn is_public(dialect: Dialect, path: &str) -> bool {
    dialect == Dialect::Http && Asset::at(path).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_paths() {
        for (path, group) in [
            ("/v2", Some(Group::Metadata)),
            ("/v2/health/live", Some(Group::Health)),
            ("/v2/models/m/ready", Some(Group::Health)),
            ("/v2/models/m/versions/1/ready", Some(Group::Health)),
            ("/v2/models/m", Some(Group::Metadata)),
            ("/v2/models/m/versions/1", Some(Group::Metadata)),
            ("/v2/models/m/infer", Some(Group::Inference)),
            ("/v2/models/m/versions/1/infer", Some(Group::Inference)),
            ("/v2/models/m/config", Some(Group::ModelConfig)),
            ("/v2/models/stats", Some(Group::Statistics)),
            ("/v2/models/m/versions/1/stats", Some(Group::Statistics)),
            ("/v2/repository/index", Some(Group::ModelRepository)),
            ("/v2/repository/r/models/m/load", Some(Group::ModelRepository)),
            ("/v2/systemsharedmemory/region/r/register", Some(Group::SharedMemory)),
            ("/v2/cudasharedmemory/status", Some(Group::SharedMemory)),
            ("/v2/trace/setting", Some(Group::Trace)),
            ("/v2/models/m/trace/setting", Some(Group::Trace)),
            ("/v2/logging", Some(Group::Logging)),
            ("/v2/hypersonic/backends", Some(Group::Metadata)),
            ("/", None),
            ("/metrics", None),
            ("/v2/openapi.json", None),
        ] {
            assert_eq!(Group::of(Dialect::Http, path), group, "{path}");
        }
    }

    #[test]
    fn what_everybody_may_read() {
        for (path, public) in
            [("/", true), ("/v2/openapi.json", true), ("/v2", false), ("/v2/hypersonic/backends", false)]
        {
            assert_eq!(is_public(Dialect::Http, path), public, "{path}");
            assert!(!is_public(Dialect::Grpc, path), "{path}");
        }
    }

    #[test]
    fn every_method_has_a_group() {
        // The methods as the service's definition has them, so that a new one is noticed here.
        let service = include_str!("../../../proto/proto/grpc_service.proto");
        let methods: Vec<&str> =
            service.lines().filter_map(|l| l.trim().strip_prefix("rpc ")?.split('(').next()).collect();
        assert_eq!(methods.len(), 20);
        for method in methods {
            let path = format!("/inference.GRPCInferenceService/{method}");
            assert!(Group::of(Dialect::Grpc, &path).is_some(), "{path}");
        }
        assert_eq!(Group::of(Dialect::Grpc, "/grpc.health.v1.Health/Watch"), Some(Group::Health));
        assert_eq!(Group::of(Dialect::Grpc, "/x/y"), None);
    }
}
