/** Entry of the dataset preview. */
import './preview.css';
import { h } from '../shared/dom';
import { startPreview } from './panel';

const root = h('div', { attrs: { id: 'app' } });
document.body.append(root);
startPreview(root);
