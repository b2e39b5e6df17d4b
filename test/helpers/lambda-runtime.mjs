// A Lambda runtime as small as it can be: loads the function, asks for events, answers them. Runs as a process of
// its own, with the function's environment. https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
import { request } from "node:http";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");
const root = "/2018-06-01/runtime";

function call(method, path, body) {
  return new Promise((resolve, reject) => {
    const sent = request({ host, port, method, path: `${root}${path}` }, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () =>
        resolve({ headers: response.headers, text: Buffer.concat(chunks).toString() }),
      );
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

const described = (error) =>
  JSON.stringify({ errorType: error?.name ?? "Error", errorMessage: error?.message ?? String(error) });

let handler;
try {
  ({ handler } = await import(pathToFileURL(join(process.env.LAMBDA_TASK_ROOT, "index.mjs")).href));
} catch (error) {
  await call("POST", "/init/error", described(error));
  process.exit(1);
}
for (;;) {
  const { headers, text } = await call("GET", "/invocation/next");
  const id = headers["lambda-runtime-aws-request-id"];
  const deadline = Number(headers["lambda-runtime-deadline-ms"]);
  const context = {
    awsRequestId: id,
    functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: "$LATEST",
    invokedFunctionArn: headers["lambda-runtime-invoked-function-arn"],
    memoryLimitInMB: "256",
    getRemainingTimeInMillis: () => deadline - Date.now(),
  };
  let path = "response";
  let body;
  try {
    body = JSON.stringify((await handler(JSON.parse(text), context)) ?? null);
  } catch (error) {
    path = "error";
    body = described(error);
  }
  await call("POST", `/invocation/${id}/${path}`, body);
}
