const http = require('http');
const { version } = require('./package.json');
const { greet } = require('./lib/greet');

const port = process.env.PORT || 3000;

http
  .createServer((request, response) => {
    response.setHeader('Content-Type', 'text/plain');
    response.end(`${greet('node')} ${version} in ${process.env.NODE_ENV}\n`);
  })
  .listen(port, () => console.log(`listening on ${port}`));
