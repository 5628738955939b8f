const fs = require('fs');

fs.mkdirSync('dist/assets', { recursive: true });
const page = fs.readFileSync('src/index.html', 'utf8');
fs.writeFileSync('dist/index.html', page.replace(/%TITLE%/g, fs.readFileSync('src/title.txt', 'utf8').trim()));
fs.copyFileSync('src/style.css', 'dist/assets/style.css');
