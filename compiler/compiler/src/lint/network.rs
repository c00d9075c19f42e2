//! Rules on the top function and its processes: what a DATAFLOW region may hold.

use std::collections::BTreeMap;

use super::Finding;
use super::source::{Source, is_identifier};

pub(super) fn check(source: &Source, findings: &mut Vec<Finding>) {
    for (name, open, body) in source.functions() {
        let is_dataflow = (source.line(body)..=source.line(source.closing(body)))
            .any(|n| source.lines.get(n - 1).is_some_and(|l| l.trim() == "#pragma HLS DATAFLOW"));
        // The innermost function that holds the directive: none is nested here.
        if is_dataflow {
            region(source, name, open, body, findings);
        } else {
            rows(source, name, open, body, findings);
        }
    }
}

/// A process, which has streams, has the loop over the rows that it is told: to `rows`, or to the beats they take.
fn rows(source: &Source, name: usize, open: usize, body: usize, findings: &mut Vec<Finding>) {
    let params = open..source.closing(open);
    let is_process = params.clone().any(|i| source.at(i) == "stream");
    if !is_process || !params.clone().any(|i| source.at(i) == "unsigned" && source.at(i + 1) == "rows") {
        return;
    }
    let all = body..source.closing(body);
    let counts_beats = all
        .clone()
        .any(|i| source.at(i) == "beats" && source.at(i + 1) == "=" && source.at(i + 2) == "row_beats");
    let is_bound = |k: usize| source.at(k) == "rows" || (counts_beats && source.at(k) == "beats");
    let looped = all.clone().any(|i| {
        source.at(i) == "for"
            && (i..i + 12).any(|k| {
                source.at(k) == "<" && (is_bound(k + 1) || (source.at(k + 1) == "=" && is_bound(k + 2)))
            })
    });
    if !looped {
        findings.push(source.finding(source.line(name), "rows-inside", source.at(name)));
    }
}

struct Region<'a> {
    source: &'a Source,
    /// How often each channel is an argument, and how often it must be.
    uses: BTreeMap<String, (usize, usize)>,
    streamed: bool,
}

fn region(source: &Source, name: usize, open: usize, body: usize, findings: &mut Vec<Finding>) {
    let mut region = Region { source, uses: BTreeMap::new(), streamed: false };
    let mut angles = 0usize;
    for i in open..source.closing(open) {
        match source.at(i) {
            "<" => angles += 1,
            ">" => angles -= 1,
            _ => {}
        }
        // A parameter's name stands before a comma, the end, or its extent.
        if angles == 0 && is_identifier(source.at(i)) && [",", ")", "["].contains(&source.at(i + 1)) {
            match source.at(i) {
                "rows" => region.streamed = true,
                port => drop(region.uses.insert(port.to_owned(), (0, 1))),
            }
        }
    }
    let end = source.closing(body);
    let mut at = body + 1;
    while at < end {
        let mut stop = at;
        while stop < end && source.at(stop) != ";" && source.at(stop) != "{" {
            stop += 1;
        }
        region.statement(at, stop, findings);
        at = stop + 1;
    }
    for (channel, (found, expected)) in &region.uses {
        // An array that the network does not read is a port without logic; a stream must be taken from.
        let unread = !region.streamed && (*found, *expected) == (0, 1);
        if found != expected && !unread {
            let found = format!("{channel} is an argument {found} times, not {expected}");
            findings.push(source.finding(source.line(name), "one-writer-one-reader", found));
        }
    }
}

impl Region<'_> {
    fn statement(&mut self, start: usize, stop: usize, findings: &mut Vec<Finding>) {
        let s = self.source;
        let text: String = (start..stop).map(|i| s.at(i)).collect();
        let line = s.line(start);
        let bad = ["if", "for", "while", "do", "switch", "return", "=", "{", "}", "?", "else"];
        if let Some(word) = (start..=stop).map(|i| s.at(i)).find(|t| bad.contains(t)) {
            findings.push(s.finding(line, "dataflow-body", format!("'{word}' in '{text}'")));
            return;
        }
        if s.at(start) == "hls" && s.at(start + 2) == "stream" {
            self.stream(start, stop, findings);
        } else if s.at(start) == "HS_RUN" {
            self.expect_calls(&text, line, findings);
        } else if s.at(start) == "HS_TASK" {
            let last = s.closing(start + 1);
            self.call(start + 2, last, findings);
        } else if s.at(start) == "f_" || (is_identifier(s.at(start)) && s.at(stop.saturating_sub(1)) == ")") {
            self.call(start, stop, findings);
        } else if is_identifier(s.at(start)) && is_identifier(s.at(start + 1)) && s.at(start + 2) == "[" {
            self.uses.insert(s.at(start + 1).to_owned(), (0, 2));
        } else {
            findings.push(s.finding(line, "dataflow-body", text));
        }
    }

    fn expect_calls(&self, text: &str, line: usize, findings: &mut Vec<Finding>) {
        if text != "HS_RUN()" {
            findings.push(self.source.finding(line, "dataflow-body", text));
        }
    }

    /// `hls::stream<BEAT, DEPTH> NAME("NAME");` and its directive.
    fn stream(&mut self, start: usize, stop: usize, findings: &mut Vec<Finding>) {
        let s = self.source;
        let close = s.closing(start + 3);
        let name = s.at(close + 1).to_owned();
        let depth: Option<usize> = s.at(close - 1).parse().ok().filter(|d| *d > 0 && s.at(close - 2) == ",");
        let directive = depth.map(|d| format!("#pragma HLS STREAM variable={name} depth={d}"));
        let given = s.lines.get(s.line(stop)).map(|l| l.trim().to_owned());
        if directive.is_none() || given != directive {
            findings.push(s.finding(s.line(start), "fifo-depth", &name));
        }
        self.uses.insert(name, (0, 2));
    }

    /// A call: its arguments are channels, constants, and last the row count, where there is one.
    fn call(&mut self, start: usize, stop: usize, findings: &mut Vec<Finding>) {
        let s = self.source;
        // Template arguments hold no parentheses.
        let Some(open) = (start..stop).find(|i| s.at(*i) == "(") else { return };
        let close = s.closing(open);
        for i in open + 1..close {
            if let Some(uses) = self.uses.get_mut(s.at(i)) {
                uses.0 += 1;
            }
        }
        if self.streamed && s.at(close - 1) != "rows" {
            let text: String = (start..close).map(|i| s.at(i)).collect();
            findings.push(s.finding(s.line(start), "rows-inside", text));
        }
    }
}
