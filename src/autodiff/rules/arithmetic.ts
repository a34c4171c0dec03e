// Sums, products, quotients, powers: value by value, over inputs that are stretched to one shape.
import type { Backward, Rules } from "./rule.ts";

export const ARITHMETIC: Rules = {
  Add: { mathematics: "da = dy, db = dy", gradient: (at) => at.dy() },
  Sum: { mathematics: "dx_i = dy", gradient: (at) => at.dy() },
  Sub: { mathematics: "da = dy, db = -dy", gradient: (at, input) => (input === 0 ? at.dy() : at.neg(at.dy())) },
  Mul: { mathematics: "da = dy b, db = dy a", gradient: (at, input) => at.mul(at.dy(), at.x(1 - input)) },
  Div: {
    mathematics: "da = dy / b, db = -dy y / b",
    gradient: (at, input) => {
      if (input === 0) return at.div(at.dy(), at.x(1));
      return at.neg(at.div(at.mul(at.dy(), at.y()), at.x(1)));
    },
  },
  Neg: { mathematics: "dx = -dy", gradient: (at) => at.neg(at.dy()) },
  Sqrt: { mathematics: "dx = dy / 2y", gradient: (at) => at.div(at.scaled(at.dy(), 0.5), at.y()) },
  Exp: { mathematics: "dx = dy y", gradient: (at) => at.mul(at.dy(), at.y()) },
  Log: { mathematics: "dx = dy / x", gradient: (at) => at.div(at.dy(), at.x()) },
  Reciprocal: { mathematics: "dx = -dy y²", gradient: (at) => at.neg(at.mul(at.dy(), at.mul(at.y(), at.y()))) },
  Sin: { mathematics: "dx = dy cos x", gradient: (at) => at.mul(at.dy(), at.op("Cos", [at.x()])) },
  Cos: { mathematics: "dx = -dy sin x", gradient: (at) => at.neg(at.mul(at.dy(), at.op("Sin", [at.x()]))) },
  Pow: { mathematics: "da = dy b a^(b-1), and 0 where b = 0", inputs: [0], gradient: power },
};

function power(at: Backward): string {
  const exponents = at.tape.numbersOf(at.node.input[1] ?? "");
  const x = at.x();
  const type = at.typeOf().type;
  if (exponents === undefined) {
    const exponent = at.typeOf(1).type === type ? at.x(1) : at.op("Cast", [at.x(1)], { to: type });
    const isZero = at.compare("Equal", exponent, at.number(0, x));
    const lower = at.op("Where", [isZero, exponent, at.sub(exponent, at.number(1, x))]);
    return at.mul(at.dy(), at.mul(exponent, at.op("Pow", [x, lower])));
  }
  const [first = 1] = exponents;
  if (exponents.every((each) => each === first) && Number.isInteger(first) && first >= 0 && first <= 3) {
    if (first === 0) return at.mul(at.dy(), at.number(0, x));
    const rest = [x, at.number(1, x)][first === 1 ? 1 : 0] ?? x;
    return at.mul(at.dy(), at.scaled(first === 3 ? at.mul(x, x) : rest, first));
  }
  const shape = at.shapeOf(1);
  const factor = at.tape.constant(exponents, type, shape);
  const lower = at.tape.constant(
    exponents.map((each) => (each === 0 ? 0 : each - 1)),
    type,
    shape,
  );
  return at.mul(at.dy(), at.mul(factor, at.op("Pow", [x, lower])));
}
