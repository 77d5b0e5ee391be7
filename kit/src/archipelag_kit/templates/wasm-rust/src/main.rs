//! A Cargo as a WASM module: one JSON object on standard input, JSON lines on standard output.
//!
//! ```text
//! in   {"run_id": "…", "input": {"text": "land ho"}, "first_position": 0, "output_items_max": 1024}
//! out  {"prompt_tokens": 2}
//!      {"text": "{\"loud\":\"LAND HO\"}"}
//!      {"end": {"finish_reason": "stop"}}
//! ```
//!
//! No crates: a small reader of JSON stands below, so that `rustc` alone builds it.

use std::io::{Read, Write};

const INPUT_MAX: u64 = 1 << 20;
const DEPTH_MAX: usize = 64;

type Outcome<T> = Result<T, &'static str>;

const NOT_JSON: &str = "the input is not JSON";

fn main() {
    let mut data = Vec::new();
    let line = match std::io::stdin().take(INPUT_MAX).read_to_end(&mut data) {
        Err(_) => refused("the input could not be read"),
        Ok(_) => match shout(&data) {
            Err(why) => refused(why),
            Ok((text, words)) => {
                let result = format!("{{\"loud\":{}}}", quoted(&text));
                format!(
                    "{{\"prompt_tokens\": {}}}\n{{\"text\": {}}}\n{{\"end\": {{\"finish_reason\": \"stop\"}}}}\n",
                    words,
                    quoted(&result)
                )
            }
        },
    };
    let _ = std::io::stdout().write_all(line.as_bytes());
}

fn shout(data: &[u8]) -> Outcome<(String, usize)> {
    let text = std::str::from_utf8(data).map_err(|_| NOT_JSON)?;
    let mut reader = Reader { rest: text.chars().collect(), at: 0 };
    if !reader.find("input")? {
        return Err("there is no input");
    }
    if reader.peek() != Some('{') {
        return Err("the input must be an object");
    }
    if !reader.find("text")? {
        return Err("text: is missing");
    }
    if reader.peek() != Some('"') {
        return Err("text: must be a text");
    }
    let said = reader.string()?;
    if said.is_empty() {
        return Err("text: is empty");
    }
    let words = said.split_whitespace().count();
    Ok((said.to_uppercase(), words))
}

fn refused(why: &str) -> String {
    format!("{{\"bad_input\": {}}}\n", quoted(why))
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

struct Reader {
    rest: Vec<char>,
    at: usize,
}

impl Reader {
    fn peek(&mut self) -> Option<char> {
        while matches!(self.rest.get(self.at), Some(' ' | '\t' | '\n' | '\r')) {
            self.at += 1;
        }
        self.rest.get(self.at).copied()
    }

    fn expect(&mut self, wanted: char) -> Outcome<()> {
        if self.peek() != Some(wanted) {
            return Err(NOT_JSON);
        }
        self.at += 1;
        Ok(())
    }

    /// Stands before the value of `name` in the object that begins here.
    fn find(&mut self, name: &str) -> Outcome<bool> {
        self.expect('{')?;
        while self.peek() != Some('}') {
            let key = self.string()?;
            self.expect(':')?;
            if key == name {
                return Ok(true);
            }
            self.skip(0)?;
            if self.peek() != Some(',') {
                break;
            }
            self.at += 1;
        }
        Ok(false)
    }

    fn skip(&mut self, depth: usize) -> Outcome<()> {
        if depth > DEPTH_MAX {
            return Err("the input is nested too deeply");
        }
        match self.peek() {
            Some('"') => self.string().map(|_| ()),
            Some(open @ ('{' | '[')) => {
                let close = if open == '{' { '}' } else { ']' };
                self.at += 1;
                while self.peek() != Some(close) {
                    if open == '{' {
                        self.string()?;
                        self.expect(':')?;
                    }
                    self.skip(depth + 1)?;
                    if self.peek() != Some(',') {
                        break;
                    }
                    self.at += 1;
                }
                self.expect(close)
            }
            Some(_) => {
                let begin = self.at;
                while matches!(self.rest.get(self.at), Some(c) if !",]} \t\r\n".contains(*c)) {
                    self.at += 1;
                }
                if self.at == begin { Err(NOT_JSON) } else { Ok(()) }
            }
            None => Err(NOT_JSON),
        }
    }

    fn string(&mut self) -> Outcome<String> {
        self.expect('"')?;
        let mut units: Vec<u16> = Vec::new();
        loop {
            let c = *self.rest.get(self.at).ok_or(NOT_JSON)?;
            self.at += 1;
            match c {
                '"' => return Ok(String::from_utf16_lossy(&units)),
                '\\' => units.push(self.escape()?),
                c => units.extend_from_slice(c.encode_utf16(&mut [0; 2])),
            }
        }
    }

    fn escape(&mut self) -> Outcome<u16> {
        let c = *self.rest.get(self.at).ok_or(NOT_JSON)?;
        self.at += 1;
        Ok(match c {
            'n' => 10,
            't' => 9,
            'r' => 13,
            'b' => 8,
            'f' => 12,
            '"' | '\\' | '/' => c as u16,
            'u' => {
                let hex: String = self.rest.iter().skip(self.at).take(4).collect();
                self.at += 4;
                u16::from_str_radix(&hex, 16).map_err(|_| NOT_JSON)?
            }
            _ => return Err(NOT_JSON),
        })
    }
}
