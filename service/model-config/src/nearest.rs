//! What a misspelt name may have meant.

/// "did you mean '…'?" with the nearest of `known`, or else what there is.
pub(crate) fn advice(word: &str, known: &[&str]) -> String {
    // No known name is longer; a longer word would only make the table of distances large.
    const LONGEST: usize = 64;
    let limit = word.len().div_ceil(3);
    let near = known
        .iter()
        .filter(|_| word.len() <= LONGEST)
        .map(|k| (distance(&word.to_lowercase(), &k.to_lowercase()), k))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, _)| *d);
    match near {
        Some((_, k)) => format!("did you mean '{k}'?"),
        None if known.is_empty() => "it has none".to_owned(),
        None => format!("there are {}", known.join(", ")),
    }
}

/// Insertions, deletions and replacements that turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!((distance("", "abc"), distance("kitten", "sitting"), distance("ab", "ba")), (3, 3, 2));
    }

    #[test]
    fn the_nearest_name_or_all() {
        let known = ["max_batch_size", "input", "output"];
        assert_eq!(advice("inputs", &known), "did you mean 'input'?");
        assert_eq!(advice("Max_Batchsize", &known), "did you mean 'max_batch_size'?");
        assert_eq!(advice("colour", &known), "there are max_batch_size, input, output");
        assert_eq!(advice("colour", &[]), "it has none");
    }
}
