//! What supervisor and worker say to each other: JSON in frames, each after its length, 32 bits.

use std::io::{self, Read, Write};

use hs_card::Stage;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{plan::Plan, process::Probed};

/// Bytes of a frame at most.
const MOST: u32 = 1 << 20;

/// To a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// The first one: open the card.
    Open(Plan),
    /// The first one: look which cards there are.
    Probe,
    /// Do a step of the launch of `rows` rows in a slot.
    Step { number: u64, unit: usize, slot: usize, rows: usize, task: Task },
}

/// What a worker does in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Task {
    ToCard,
    Run,
    FromCard,
}

impl Task {
    /// The task of a stage; none for what the supervisor's side does.
    pub(crate) fn of(stage: Stage) -> Option<Self> {
        match stage {
            Stage::HostToDevice => Some(Self::ToCard),
            Stage::Kernel => Some(Self::Run),
            Stage::DeviceToHost => Some(Self::FromCard),
            Stage::Pack | Stage::Unpack => None,
        }
    }
}

/// From a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The card is open.
    Opened,
    /// It cannot be opened.
    Refused(String),
    /// What cards there are.
    Cards(Probed),
    /// A step has ended; how it failed.
    Done { number: u64, fault: Option<String> },
}

/// Writes a frame.
pub(crate) fn write(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = u32::try_from(frame.len() - 4).ok().filter(|l| *l <= MOST);
    let length = length.ok_or_else(|| io::Error::other("a message of more than 1 MiB"))?;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    to.write_all(&frame)
}

/// Reads a frame.
pub(crate) fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > MOST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes")));
    }
    let mut body = vec![0; length as usize];
    from.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_one_after_the_other() {
        let mut bytes = Vec::new();
        write(&mut bytes, &Report::Done { number: 7, fault: None }).unwrap();
        write(&mut bytes, &Report::Refused("no card".to_owned())).unwrap();
        let mut from = &bytes[..];
        assert!(matches!(read(&mut from).unwrap(), Report::Done { number: 7, fault: None }));
        assert!(matches!(read(&mut from).unwrap(), Report::Refused(why) if why == "no card"));
        assert!(read::<Report>(&mut from).is_err());
    }

    #[test]
    fn lengths_are_not_believed() {
        assert!(read::<Report>(&mut &[0xff; 64][..]).unwrap_err().to_string().contains("4294967295"));
    }
}
