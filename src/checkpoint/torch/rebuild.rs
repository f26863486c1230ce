//! What a pickle of PyTorch's may call: makers of containers, of storages and of tensors.

use super::made::{Fault, Made, Storage, Tensor, Value};
use crate::checkpoint::tensor::SourceType;
use crate::limits;

/// Modules whose function `set`, `dict` and the like make containers.
const BUILTINS: [&str; 2] = ["builtins", "__builtin__"];

/// Whether a pickle may name `name` of `module`.
pub(super) fn is_known(module: &str, name: &str) -> bool {
    match module {
        "torch" => {
            storage_type(name).is_some()
                || dtype(name).is_some()
                || matches!(name, "Size" | "device" | "Tensor" | "strided")
        }
        "torch.storage" => matches!(name, "UntypedStorage" | "TypedStorage"),
        "torch._utils" => matches!(
            name,
            "_rebuild_tensor"
                | "_rebuild_tensor_v2"
                | "_rebuild_tensor_v3"
                | "_rebuild_parameter"
                | "_rebuild_parameter_with_state"
        ),
        "torch._tensor" => name == "_rebuild_from_type_v2",
        "torch.nn.parameter" => matches!(name, "Parameter" | "Buffer"),
        "torch.serialization" => name == "_get_layout",
        "collections" => matches!(name, "OrderedDict" | "defaultdict"),
        "_codecs" => name == "encode",
        _ => BUILTINS.contains(&module) && matches!(name, "set" | "frozenset" | "dict" | "list" | "tuple"),
    }
}

/// What `callable` makes of `arguments`.
///
/// # Errors
/// [`Fault`] if it makes nothing known, or they do not fit.
pub(super) fn call<'p>(
    made: &mut Made<'p>,
    callable: Value<'p>,
    arguments: Value<'p>,
) -> Result<Value<'p>, Fault> {
    let Value::Global(module, name) = callable else {
        return Err(Fault::Broken("it calls what is not a function"));
    };
    let items = made.items(arguments);
    // No maker takes more, and a pickle may call one with the same long tuple as often as it likes.
    let items = items[..items.len().min(MAX_ARGUMENTS)].to_vec();
    match name {
        "OrderedDict" | "defaultdict" | "dict" => Ok(made.dict()),
        "set" | "frozenset" | "list" | "tuple" => Ok(made.tuple(Vec::new())),
        "Size" => Ok(items.first().copied().unwrap_or(arguments)),
        "device" | "_get_layout" | "encode" => Ok(Value::Other),
        "_rebuild_tensor" | "_rebuild_tensor_v2" => tensor(made, &items, None),
        "_rebuild_tensor_v3" => match items.get(6) {
            Some(&Value::Global("torch", name)) => tensor(made, &items, dtype(name)),
            _ => Err(Fault::Broken("a tensor says no type")),
        },
        "_rebuild_parameter" | "_rebuild_parameter_with_state" => {
            items.first().copied().ok_or(Fault::Broken("a parameter has no tensor"))
        }
        // The second time around it is a maker of plain tensors, which never calls on.
        "_rebuild_from_type_v2" => match items[..] {
            [Value::Global(_, "_rebuild_from_type_v2"), ..] => {
                Err(Fault::Broken("a tensor is made in circles"))
            }
            [maker, _, inner, ..] => call(made, maker, inner),
            _ => Err(Fault::Broken("a tensor lacks its parts")),
        },
        _ => Err(Fault::Refused(format!("a call of {module}.{name}"))),
    }
}

/// The storage that a persistent id names: `("storage", type, key, location, number of elements)`, and in old files
/// a view of another storage or none.
///
/// # Errors
/// [`Fault`] if it names something else.
pub(super) fn storage<'p>(made: &mut Made<'p>, id: Value<'p>) -> Result<Value<'p>, Fault> {
    let found = match *made.items(id) {
        [Value::Str("storage"), Value::Global(_, name), Value::Str(key), _, Value::Int(n)]
        | [Value::Str("storage"), Value::Global(_, name), Value::Str(key), _, Value::Int(n), Value::None] => {
            storage_type(name).zip(u64::try_from(n).ok()).map(|(dtype, n)| (key, dtype, n, name == COMPLEX))
        }
        _ => None,
    };
    let (key, dtype, n_elements, is_complex) =
        found.ok_or(Fault::Broken("a storage is not described as PyTorch does"))?;
    made.storages.push(Storage { key, dtype, n_elements, is_complex });
    Ok(Value::Storage(made.storages.len() - 1))
}

/// A tensor of the arguments of its maker: storage, first element, shape, strides.
fn tensor<'p>(
    made: &mut Made<'p>,
    items: &[Value<'p>],
    dtype: Option<SourceType>,
) -> Result<Value<'p>, Fault> {
    let broken = Fault::Broken("a tensor is not described as PyTorch does");
    let &[Value::Storage(storage), Value::Int(first), shape, stride, ..] = items else { return Err(broken) };
    let numbers = |value| -> Option<Vec<u64>> {
        let number = |value: &Value<'_>| match value {
            Value::Int(n) => u64::try_from(*n).ok(),
            _ => None,
        };
        let items = made.items(value);
        (items.len() <= MAX_DIMS).then(|| items.iter().map(number).collect())?
    };
    let parts = || {
        let (shape, stride) = (numbers(shape)?, numbers(stride)?);
        let shape: Option<Vec<usize>> = shape.into_iter().map(|n| usize::try_from(n).ok()).collect();
        let dtype = dtype.or(made.storages[storage].dtype)?;
        let is_complex = made.storages[storage].is_complex;
        let tensor =
            Tensor { storage, dtype, is_complex, first: u64::try_from(first).ok()?, shape: shape?, stride };
        (tensor.shape.len() == tensor.stride.len()).then_some(tensor)
    };
    let tensor = parts().ok_or(broken)?;
    made.tensors.push(tensor);
    Ok(Value::Tensor(made.tensors.len() - 1))
}

/// Arguments that a maker of tensors takes at most.
const MAX_ARGUMENTS: usize = 8;

/// Dimensions that a tensor may have: convolutions and stacks of experts have a few more than models.
const MAX_DIMS: usize = 2 * limits::MAX_DIMS;

/// The class of storages of complex numbers.
const COMPLEX: &str = "ComplexFloatStorage";

/// The type of the elements of a class of storages: some type, or none that it says.
fn storage_type(class: &str) -> Option<Option<SourceType>> {
    let of = match class.strip_suffix("Storage")? {
        "Untyped" => return Some(None),
        "Double" => SourceType::F64,
        "Float" => SourceType::F32,
        "Half" => SourceType::F16,
        "BFloat16" => SourceType::BF16,
        "Long" => SourceType::I64,
        "Int" => SourceType::I32,
        "Short" => SourceType::I16,
        "Char" => SourceType::I8,
        "Byte" => SourceType::U8,
        "Bool" => SourceType::Bool,
        // Two floats; models have tables of such beside their weights.
        "ComplexFloat" => SourceType::I64,
        _ => return None,
    };
    Some(Some(of))
}

/// The type of elements that PyTorch calls `name`.
fn dtype(name: &str) -> Option<SourceType> {
    Some(match name {
        "float64" | "double" => SourceType::F64,
        "float32" | "float" => SourceType::F32,
        "float16" | "half" => SourceType::F16,
        "bfloat16" => SourceType::BF16,
        "float8_e4m3fn" => SourceType::F8_E4M3,
        "float8_e5m2" => SourceType::F8_E5M2,
        "float8_e4m3fnuz" => SourceType::F8_E4M3FNUZ,
        "float8_e5m2fnuz" => SourceType::F8_E5M2FNUZ,
        "float8_e8m0fnu" => SourceType::F8_E8M0,
        "int64" | "long" => SourceType::I64,
        "uint64" => SourceType::U64,
        "int32" | "int" => SourceType::I32,
        "uint32" => SourceType::U32,
        "int16" | "short" => SourceType::I16,
        "uint16" => SourceType::U16,
        "int8" => SourceType::I8,
        "uint8" => SourceType::U8,
        "bool" => SourceType::Bool,
        _ => return None,
    })
}
