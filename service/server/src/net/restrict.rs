//! Groups of calls that need a header of a certain value.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::{Dialect, Group, tokens::same};

/// A restriction that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestrictionError {
    /// The whole has another form.
    #[error("restriction '{0}', expected <group>,<group>,…:<header>=<value>")]
    Form(String),
    /// There is no such group.
    #[error("unknown restricted api '{0}'; there are {all}", all = names())]
    Group(String),
    /// A group can need one header only.
    #[error("api '{0}' can not be specified in multiple config groups")]
    Twice(&'static str),
    /// The header's name or value cannot be one.
    #[error("restriction '{0}': '{1}' cannot be a header's name and value")]
    Header(String, String),
}

fn names() -> String {
    Group::ALL.iter().map(|g| g.name()).collect::<Vec<_>>().join(", ")
}

/// The header that calls of some groups need.
#[derive(Debug, Clone, Default)]
pub struct Restrictions(BTreeMap<Group, (HeaderName, HeaderValue)>);

impl Restrictions {
    /// Parses `tritonserver`'s form, `<group>,<group>,…:<header>=<value>`. Over gRPC, the header's name is
    /// `triton-grpc-protocol-<header>`.
    ///
    /// # Errors
    /// Another form, unknown groups, a group in two restrictions.
    pub fn parse<S: AsRef<str>>(dialect: Dialect, all: &[S]) -> Result<Self, RestrictionError> {
        let mut restrictions = BTreeMap::new();
        for text in all.iter().map(AsRef::as_ref) {
            let form = || RestrictionError::Form(text.to_owned());
            let (groups, header) = text.split_once(':').ok_or_else(form)?;
            let (name, value) = header.split_once('=').ok_or_else(form)?;
            if name.is_empty() || value.is_empty() {
                return Err(form());
            }
            let name = match dialect {
                Dialect::Http => name.to_owned(),
                Dialect::Grpc => format!("triton-grpc-protocol-{name}"),
            };
            let wrong = || RestrictionError::Header(text.to_owned(), header.to_owned());
            let name = HeaderName::try_from(name).map_err(|_| wrong())?;
            let mut value = HeaderValue::try_from(value).map_err(|_| wrong())?;
            value.set_sensitive(true);
            for group in groups.split(',') {
                let known = Group::ALL.iter().find(|g| g.name() == group.trim());
                let known = *known.ok_or_else(|| RestrictionError::Group(group.trim().to_owned()))?;
                if restrictions.insert(known, (name.clone(), value.clone())).is_some() {
                    return Err(RestrictionError::Twice(known.name()));
                }
            }
        }
        Ok(Self(restrictions))
    }

    /// Whether nothing is restricted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a call may be made; else the name of the header that it needs.
    pub(super) fn check(&self, group: Option<Group>, headers: &HeaderMap) -> Result<(), &str> {
        let Some((name, value)) = group.and_then(|g| self.0.get(&g)) else { return Ok(()) };
        let shown = headers.get(name).is_some_and(|v| same(v.as_bytes(), value.as_bytes()));
        if shown { Ok(()) } else { Err(name.as_str()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tritons_form() {
        let r = Restrictions::parse(Dialect::Grpc, &["model-repository, health:Admin=a=b", "inference:i=j"]);
        let r = r.unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(r.check(Some(Group::Health), &headers), Err("triton-grpc-protocol-admin"));
        assert_eq!(r.check(Some(Group::Metadata), &headers), Ok(()));
        assert_eq!(r.check(None, &headers), Ok(()));
        headers.insert("triton-grpc-protocol-admin", HeaderValue::from_static("a=c"));
        assert!(r.check(Some(Group::Health), &headers).is_err());
        headers.insert("triton-grpc-protocol-admin", HeaderValue::from_static("a=b"));
        assert_eq!(r.check(Some(Group::Health), &headers), Ok(()));
        assert!(r.check(Some(Group::Inference), &headers).is_err());
        let r = Restrictions::parse(Dialect::Http, &["health:k=v"]).unwrap();
        assert_eq!(r.check(Some(Group::Health), &headers), Err("k"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |all: &[&str]| Restrictions::parse(Dialect::Http, all).unwrap_err().to_string();
        assert_eq!(
            error(&["model-repository,health:k1=v1", "metadata,health:k2=v2"]),
            "api 'health' can not be specified in multiple config groups"
        );
        assert!(
            error(&["model-reposit:k=v"])
                .starts_with("unknown restricted api 'model-reposit'; there are health,")
        );
        for form in ["", "health", "health:", "health:k", "health:=v", "health:k="] {
            assert!(error(&[form]).contains("expected <group>"), "{form}");
        }
        assert!(error(&["health:a b=c"]).contains("cannot be a header"));
    }
}
