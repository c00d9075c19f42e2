//! `BatchNormalization`, in inference. Passes turn it into `hypersonic::Affine`.

use super::{Call, Inferred, OpDef, call::same_as_input, strides};
use crate::diagnostic::Diagnostic;

/// The operator.
pub const OPS: &[OpDef] = &[OpDef::rewritten("BatchNormalization", infer, eval)];

/// `x * scale + bias` along axis 1, with the statistics worked in.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNorm {
    /// Factor of each channel: gamma over the root of variance and epsilon.
    pub scale: Vec<f64>,
    /// Term of each channel: beta minus mean times `scale`.
    pub bias: Vec<f64>,
}

/// The parameters as the model states them, one of each a channel.
struct Parameters {
    gamma: Vec<f64>,
    beta: Vec<f64>,
    mean: Vec<f64>,
    variance: Vec<f64>,
    epsilon: f64,
}

impl BatchNorm {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        let p = Parameters::parse(call)?;
        let scale: Vec<f64> =
            p.gamma.iter().zip(&p.variance).map(|(g, v)| g / (v + p.epsilon).sqrt()).collect();
        let bias = p.beta.iter().zip(&p.mean).zip(&scale).map(|((b, m), s)| b - m * s).collect();
        Ok(Self { scale, bias })
    }

    /// Scale and bias with each operation rounded to `f32`, as numpy computes them.
    pub fn single(call: &Call<'_>) -> Result<(Vec<f32>, Vec<f32>), Diagnostic> {
        let p = Parameters::parse(call)?;
        let epsilon = p.epsilon as f32;
        let scale: Vec<f32> =
            p.gamma.iter().zip(&p.variance).map(|(g, v)| *g as f32 / (*v as f32 + epsilon).sqrt()).collect();
        let moved = p.mean.iter().zip(&scale).map(|(m, s)| *m as f32 * s);
        let bias = p.beta.iter().zip(moved).map(|(b, m)| *b as f32 - m).collect();
        Ok((scale, bias))
    }
}

impl Parameters {
    fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        let x = call.float_arg(0)?;
        let Some(&channels) = x.shape.get(1) else {
            return Err(call.error(format!("its input has the shape {:?}, which has no channels", x.shape)));
        };
        if call.flag("training_mode", false)? {
            let help = "export the model in evaluation mode (torch: model.eval())";
            return Err(call.error("normalises by the statistics of the batch").help(help));
        }
        if !call.flag("spatial", true)? {
            return Err(call.error("its attribute 'spatial' is 0; statistics for each channel are expected"));
        }
        call.refuse_outputs_from(1, "statistics")?;
        let epsilon = call.float("epsilon", 1e-5)?;
        let parameter = |index: usize| {
            let arg = call.float_arg(index)?;
            let tensor = call.constant(arg)?;
            if tensor.shape() != [channels] {
                let message =
                    format!("'{}' has the shape {:?}; [{channels}] is expected", arg.name, arg.shape);
                return Err(call.error(message));
            }
            Ok(tensor.to_f64())
        };
        let (gamma, beta, mean, variance) = (parameter(1)?, parameter(2)?, parameter(3)?, parameter(4)?);
        if let Some(channel) = variance.iter().position(|v| v + epsilon <= 0.0) {
            let v = variance[channel];
            return Err(call.error(format!(
                "channel {channel} has the variance {v}, which with epsilon is not positive"
            )));
        }
        Ok(Parameters { gamma, beta, mean, variance, epsilon })
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    BatchNorm::parse(call)?;
    same_as_input(call)
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let norm = BatchNorm::parse(call)?;
    let (x, shape) = (call.floats(0)?, call.arg(0)?.shape);
    let (step, channels) = (strides(shape)[1], norm.scale.len());
    let out = x.iter().enumerate().map(|(place, x)| {
        let channel = place / step % channels;
        (f64::from(*x) * norm.scale[channel] + norm.bias[channel]) as f32
    });
    call.float_result(shape.to_vec(), out.collect())
}
