//! What is wrong with numbers, as messages.

/// The first of these counts that is not within 1 and its limit, as a message.
pub(in crate::model::spec) fn first_count_fault(counts: &[(&str, usize, usize)]) -> Option<String> {
    let (name, value, max) = counts.iter().find(|(_, value, max)| *value == 0 || value > max)?;
    Some(format!("{name} is {value}; it must be within 1..={max}"))
}

/// The first of these constants that is not a positive number, as a message.
pub(in crate::model::spec) fn first_constant_fault(constants: &[(&str, f32)]) -> Option<String> {
    let (name, value) = constants.iter().find(|(_, value)| !(value.is_finite() && *value > 0.0))?;
    Some(format!("{name} is {value}; it must be a positive number"))
}
